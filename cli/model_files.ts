/**
 * How commands write whole models.
 * @module
 */

import { type CausalLM, exportGguf, type Tokenizer } from "@peft/webgpu";
import type { SaveModelOptions } from "@peft/webgpu/model";
import { choice } from "../options/rules.ts";
import { UsageError } from "../jobs/usage_error.ts";

/** Number formats of each kind of file; the first is the default. */
const TYPES = {
  safetensors: ["float32", "float16", "bfloat16"],
  gguf: ["f16", "q8_0"],
} as const;

/** Flags of a model's files. */
export const FILE_FLAGS = {
  format: {
    rule: choice("safetensors", "gguf"),
    default: "safetensors",
    help: "A folder in Hugging Face's layout, or one file for llama.cpp",
  },
  type: {
    rule: choice(...TYPES.safetensors, ...TYPES.gguf),
    help: "Number format: float32, float16 or bfloat16 in a folder [float32], f16 or q8_0 in GGUF [f16]",
  },
} as const;

/** Values of {@linkcode FILE_FLAGS} and where to. */
export interface FileValues {
  readonly output: string;
  readonly format: string;
  readonly type: string | undefined;
}

/** Whether a name is that of a file for llama.cpp, and of no folder. */
export const isGgufName = (name: string): boolean => /\.gguf$/i.test(name);

/**
 * The number format of the files.
 * @throws {UsageError} for one that the kind of file does not have, and for a folder that is called like a GGUF file
 */
export function checkFormat(command: string, { output, format, type }: FileValues): string {
  if (format !== "gguf" && isGgufName(output)) {
    throw new UsageError(
      `Cannot run ${command}: --output must be a folder with --format ${format}, received "${output}"; --format gguf writes a file`,
    );
  }
  const types: readonly string[] = TYPES[format as keyof typeof TYPES];
  if (type === undefined) return types[0];
  if (types.includes(type)) return type;
  throw new UsageError(
    `Cannot run ${command}: --type must be ${types.join(" or ")} with --format ${format}, received ${type}`,
  );
}

/** Writes a model and its tokenizer, and says so. @param type what `checkFormat` gave */
export async function writeModel(
  model: CausalLM,
  tokenizer: Tokenizer,
  { output, format }: Pick<FileValues, "output" | "format">,
  type: string,
): Promise<{ output: string; format: string; type: string }> {
  if (format === "gguf") {
    await exportGguf(model, output, { dtype: type as "f16" | "q8_0", tokenizer });
  } else {
    await model.savePretrained(output, { dtype: type as SaveModelOptions["dtype"] });
    await tokenizer.savePretrained(output);
  }
  console.log(`model written to ${output} (${type})`);
  return { output, format, type };
}
