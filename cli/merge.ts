/**
 * `merge`: a base model with an adapter's change added to its weights.
 * @module
 */

import { type CausalLM, checkWritableFolder, type PeftModel } from "@peft/webgpu";
import { flag, text } from "../options/rules.ts";
import type { Command } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { baseName as baseNameOf, load, loadTokenizer } from "./loading.ts";
import { checkOutput, modelInputs } from "./output_paths.ts";
import { checkFormat, FILE_FLAGS, writeModel } from "./model_files.ts";

const flags = {
  ...MODEL_FLAGS,
  adapter: { ...MODEL_FLAGS.adapter, required: true },
  output: { rule: text, required: true, help: "Folder for the merged model, or with --format gguf its file" },
  ...FILE_FLAGS,
  safe: { rule: flag, help: "Fail if a merged weight is not finite" },
} as const;

/** The command. */
export const merge: Command<typeof flags> = {
  name: "merge",
  summary: "Add an adapter to its base model's weights, for use without this library",
  flags,
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run merge --adapter out/adapter --output out/merged",
    "./run merge --adapter out/adapter --output out/merged.gguf --format gguf --type q8_0",
  ],
  async run(values) {
    const type = checkFormat("merge", values);
    const base = await baseNameOf("merge", values);
    const inputs = [...modelInputs("the base model", base, values["gguf-file"]), [
      "--adapter",
      values.adapter,
    ]] as const;
    await checkOutput("merge", values.output, inputs);
    if (values.format !== "gguf") await checkWritableFolder(values.output, "run merge: --output");
    const { model, baseName } = await load("merge", values);
    const tokenizer = await loadTokenizer(baseName, values);
    const merged = await (model as PeftModel<CausalLM>).mergeAndUnload({ safeMerge: values.safe });
    return await writeModel(merged, tokenizer, values, type);
  },
};
