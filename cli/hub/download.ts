/**
 * `download`: a model into the cache that is shared with Python.
 * @module
 */

import { snapshotDownload } from "@peft/webgpu/hub";
import { flag, text } from "../../options/rules.ts";
import type { Command } from "../command.ts";
import { LoadingLine } from "../loading_line.ts";

const flags = {
  model: { rule: text, required: true, help: "Hub id such as org/name" },
  revision: { rule: text, default: "main", help: "Branch, tag or commit" },
  include: {
    rule: text,
    help: 'Names of files, with * for any text, apart by commas: "*.gguf"; default: what this library reads',
  },
  verify: { rule: flag, help: "Also hash files that are in the cache already, and fetch damaged ones again" },
} as const;

/** The command. */
export const download: Command<typeof flags> = {
  name: "download",
  summary: "Fetch a model into the cache that is shared with Python",
  flags,
  permissions: ["--allow-read", "--allow-write", "--allow-net", "--allow-env", "--allow-sys=homedir"],
  examples: [
    "./run download --model HuggingFaceTB/SmolLM2-135M-Instruct",
    `./run download --model org/name-GGUF --include "*q8_0.gguf"`,
  ],
  async run({ model, revision, include, verify }) {
    using line = new LoadingLine();
    const allowPatterns = include?.split(",").map((pattern) => pattern.trim());
    const folder = await snapshotDownload(model, { revision, allowPatterns, verify, onProgress: line.show });
    console.log(folder);
    return { model, revision, folder };
  },
};
