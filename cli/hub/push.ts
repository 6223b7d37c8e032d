/**
 * `push`: a model or an adapter, as it lies in a folder, to the hub.
 * @module
 */

import { uploadFolder } from "@peft/webgpu/hub";
import { flag, text } from "../../options/rules.ts";
import type { Command } from "../command.ts";

const flags = {
  folder: {
    rule: text,
    required: true,
    help: "Folder of a model or an adapter; hidden files and checkpoints stay",
  },
  repo: { rule: text, required: true, help: "Repository, org/name or name; it is made where there is none" },
  message: { rule: text, help: "First line of the commit; default: Upload folder" },
  revision: { rule: text, default: "main", help: "Branch; it is made where there is none" },
  private: { rule: flag, help: "A new repository is private" },
  "create-pr": { rule: flag, help: "Open a pull request instead of committing to the branch" },
  tags: { rule: text, help: "Tags that the model card gets beside those it has, apart by commas" },
} as const;

/** The command. */
export const push: Command<typeof flags> = {
  name: "push",
  summary: "Push a model or an adapter to the hub",
  flags,
  permissions: ["--allow-read", "--allow-net", "--allow-env", "--allow-sys=homedir"],
  examples: [
    "./run push --folder out/adapter --repo me/pirate-lora --private",
    `./run push --folder out/merged --repo org/name --create-pr --message "Merged model"`,
  ],
  async run({ folder, repo, message, tags, revision, ...values }) {
    const made = await uploadFolder(repo, folder, {
      revision,
      commitMessage: message,
      private: values.private ? true : undefined,
      createPr: values["create-pr"],
      tags: tags?.split(",").map((tag) => tag.trim()),
    });
    console.log(made.prUrl ?? made.commitUrl);
    return made;
  },
};
