/**
 * `cache`: what lies in the cache that is shared with Python.
 * @module
 */

import { deleteCachedModel, listCachedModels } from "@peft/webgpu/hub";
import { text } from "../../options/rules.ts";
import type { Command } from "../command.ts";

const flags = {
  delete: { rule: text, help: "Hub id of a model that is removed, with every revision" },
} as const;

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** The command. */
export const cache: Command<typeof flags> = {
  name: "cache",
  summary: "List the models of the cache that is shared with Python, or delete one",
  flags,
  permissions: ["--allow-read", "--allow-write", "--allow-env", "--allow-sys=homedir"],
  examples: ["./run cache", "./run cache --delete org/name"],
  async run(values) {
    if (values.delete !== undefined) {
      const freedBytes = await deleteCachedModel(values.delete);
      console.log(`${values.delete} is deleted: ${megabytes(freedBytes)} are free`);
      return { deleted: values.delete, freedBytes };
    }
    const models = (await listCachedModels()).map(({ modified, ...model }) => ({
      ...model,
      modified: modified.toISOString(),
    }));
    const width = Math.max(0, ...models.map(({ id }) => id.length));
    for (const { id, byteLength, revisions } of models) {
      const names = revisions.map(({ commit, refs }) => refs.join(", ") || commit.slice(0, 8)).join("; ");
      console.log(`${id.padEnd(width)}  ${megabytes(byteLength).padStart(11)}  ${names}`);
    }
    const total = models.reduce((sum, { byteLength }) => sum + byteLength, 0);
    console.log(`${models.length} ${models.length === 1 ? "model" : "models"}, ${megabytes(total)}`);
    return { models, byteLength: total };
  },
};
