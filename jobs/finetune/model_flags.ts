/**
 * Flags of everything that loads a model: which one, and how its weights are stored.
 * @module
 */

import type { WeightDType } from "@peft/webgpu";
import { LOADED_TYPES } from "@peft/webgpu/tensor";
import type { Quantization, StorageOptions } from "@peft/webgpu/model";
import { choice, flag, text } from "../../options/rules.ts";

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
