/**
 * `convert`: models and adapters between files: safetensors and GGUF, number formats, PiSSA to plain LoRA.
 * @module
 */

import { join } from "@std/path";
import { checkWritableFolder, type PeftModel } from "@peft/webgpu";
import { flag, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { load, loadTokenizer } from "./loading.ts";
import { checkOutput, modelInputs } from "./output_paths.ts";
import { checkFormat, FILE_FLAGS, isGgufName, writeModel } from "./model_files.ts";

const flags = {
  ...MODEL_FLAGS,
  adapter: { ...MODEL_FLAGS.adapter, help: "Adapter folder to convert; without it the model is" },
  output: { rule: text, required: true, help: "Folder, or for a model with --format gguf its file" },
  ...FILE_FLAGS,
  "to-lora": {
    rule: flag,
    help: "Write an adapter that starts from the weight (PiSSA, OLoRA) as plain LoRA",
  },
} as const;

/** The command. */
export const convert: Command<typeof flags> = {
  name: "convert",
  summary: "Write a model or an adapter in another format",
  flags,
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run convert --model my/folder --output model.gguf --format gguf --type q8_0",
    "./run convert --model model.gguf --output out/model --type bfloat16",
    "./run convert --adapter out/adapter --output out/for_llama_cpp --format gguf",
    "./run convert --adapter out/pissa --output out/lora --to-lora",
  ],
  async run(values) {
    const { adapter, output, format } = values;
    const inputs = [...modelInputs("--model", values.model, values["gguf-file"]), [
      "--adapter",
      adapter,
    ]] as const;
    await checkOutput("convert", output, inputs);
    if (adapter === undefined) {
      if (values["to-lora"]) throw new UsageError("Cannot run convert: --to-lora needs --adapter");
      const type = checkFormat("convert", values);
      if (format !== "gguf") await checkWritableFolder(output, "run convert: --output");
      const { base, baseName } = await load("convert", values);
      return await writeModel(base, await loadTokenizer(baseName, values), values, type);
    }
    if (values.type !== undefined) {
      throw new UsageError("Cannot run convert: --type is for models, not for an --adapter");
    }
    if (isGgufName(output)) {
      throw new UsageError(
        `Cannot run convert: --output must be a folder for an adapter's files, received "${output}"`,
      );
    }
    await checkWritableFolder(output, "run convert: --output");
    const { model } = await load("convert", values);
    const options = {
      format: format === "gguf" ? "gguf" : "peft",
      convertToLora: values["to-lora"],
    } as const;
    await (model as PeftModel).savePretrained(output, options);
    console.log(`adapter written to ${format === "gguf" ? join(output, "adapter_model.gguf") : output}`);
    return { output, format: options.format };
  },
};
