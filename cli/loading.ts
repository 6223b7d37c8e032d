/**
 * Loading models for commands.
 * @module
 */

import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  PeftConfig,
  PeftModel,
  type Tokenizer,
  type WeightDType,
} from "@peft/webgpu";
import { LOADED_TYPES } from "@peft/webgpu/tensor";
import { loadTuning, readTuning } from "@peft/webgpu/tuning";
import type { Quantization, StorageOptions } from "@peft/webgpu/model";
import { choice, flag, text } from "../options/rules.ts";
import { UsageError } from "./command.ts";
import { LoadingLine } from "./loading_line.ts";

/** Flags of every command that loads a model. */
export const MODEL_FLAGS = {
  model: {
    rule: text,
    help:
      "Model folder in Hugging Face's layout, a .gguf file, a URL of either, or a hub id such as org/name; default: the base that --adapter names",
  },
  "gguf-file": { rule: text, help: "Name of the GGUF file where --model holds several" },
  adapter: {
    rule: text,
    help: "Adapter folder (adapter_config.json and its weights), a hub id, or a LoRA adapter's .gguf file",
  },
  dtype: {
    rule: choice(...LOADED_TYPES, "auto"),
    default: "float32",
    help: "Storage of the base weights on the device; auto: as their file has them (GGUF's blocks, float16)",
  },
  quantization: {
    rule: choice("nf4", "fp4", "int8"),
    help: "Quantise linear layers while loading: 4.5 bits a weight (nf4, fp4) or 8 (int8)",
  },
  "double-quant": { rule: flag, help: "Quantise the scales of nf4 and fp4 too: 4.1 bits a weight" },
} as const;

/** What the flags say of storage, as options of `fromPretrained`. */
export function storageOf(values: StorageValues): StorageOptions {
  return {
    dtype: values.dtype as WeightDType,
    quantization: values.quantization as Quantization | undefined,
    doubleQuant: values["double-quant"],
  };
}

/** Values of the flags of storage. */
export interface StorageValues {
  readonly dtype: string;
  readonly quantization: string | undefined;
  readonly "double-quant": boolean;
}

/** Values of {@linkcode MODEL_FLAGS}. */
export interface ModelValues extends StorageValues {
  readonly model: string | undefined;
  readonly "gguf-file": string | undefined;
  readonly adapter?: string;
}

/** What the flags name. */
export interface Loaded {
  readonly model: CausalLM | PeftModel<CausalLM>;
  readonly base: CausalLM;
  /** Folder or hub id of the base. */
  readonly baseName: string;
}

/** The base model: `--model`, else what the adapter's configuration names. @throws {UsageError} if neither says it */
export async function baseName(command: string, { model, adapter }: ModelValues): Promise<string> {
  if (model !== undefined) return model;
  if (adapter === undefined) throw new UsageError(`Cannot run ${command}: --model or --adapter is required`);
  const isGguf = /\.gguf$/i.test(adapter);
  const baseModelNameOrPath = isGguf ? null : (await PeftConfig.fromPretrained(adapter)).baseModelNameOrPath;
  if (baseModelNameOrPath) return baseModelNameOrPath;
  throw new UsageError(
    `Cannot run ${command}: --model is required, since the adapter "${adapter}" does not name its base model`,
  );
}

/** Loads the tokenizer of a base model. */
export async function loadTokenizer(
  name: string,
  values: Pick<ModelValues, "gguf-file">,
): Promise<Tokenizer> {
  using line = new LoadingLine();
  return await AutoTokenizer.fromPretrained(name, {
    ggufFile: values["gguf-file"],
    onProgress: line.show,
  });
}

/** Tokens that end a text or an answer: those of generation_config.json or config.json, and the tokenizer's. */
export function endTokens(model: CausalLM, { eosTokenId }: Tokenizer): number[] {
  return [...new Set([...model.facts.eosTokenIds, ...eosTokenId === null ? [] : [eosTokenId]])];
}

/** Loads a model and its adapter, and the kernel picks that `./run tune` kept for this adapter. */
export async function load(command: string, values: ModelValues): Promise<Loaded> {
  const name = await baseName(command, values);
  using line = new LoadingLine();
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(name, {
    ...storageOf(values),
    ggufFile: values["gguf-file"],
    onProgress: line.show,
  });
  const [{ device }] = base.parameters();
  loadTuning(device, await readTuning(device.adapterName));
  const model = values.adapter ? await PeftModel.fromPretrained(base, values.adapter) : base;
  return { base, model, baseName: name };
}
