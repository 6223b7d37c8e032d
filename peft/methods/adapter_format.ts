/**
 * The layout of an adapter's folder: names of its files and keys.
 * @module
 */

import type { PeftConfig } from "../config/peft_config.ts";

/** What every key on disk begins with: the model inside a PEFT model. */
export const KEY_PREFIX = "base_model.model.";

/** Names of the files with the tensors, in every layout: `peft`'s, and AdapterHub's. */
export const [PEFT_FILE, ADAPTER_HUB_FILE] = ["adapter_model.safetensors", "adapter.safetensors"];

/** Name of the one file of an adapter in llama.cpp's form. */
export const GGUF_FILE = "adapter_model.gguf";

/** One layout of adapter folders. */
export interface AdapterFormat {
  /** Name of the file with the tensors. */
  readonly weightsFile: string;
  /** Metadata of that file. */
  readonly metadata: Record<string, string> | undefined;
  /** A file of pickled tensors that other tools write instead, for the error message. */
  readonly pickleFile: string;
  /** What a model card calls the library. */
  readonly library: string;
  /** What `adapter_config.json` says of an adapter. */
  configOf(config: PeftConfig, adapterName: string): Record<string, unknown>;
  /** A key on disk for a key such as `base_model.model.transformer.h.0.attn.c_attn.lora_A.weight`. */
  toDisk(key: string, adapterName: string): string;
  /** The reverse of `toDisk`, for a file with this configuration. */
  fromDisk(key: string, config: PeftConfig): string;
}

/** `peft`'s. */
export const peftFormat: AdapterFormat = {
  weightsFile: PEFT_FILE,
  metadata: { format: "pt" },
  pickleFile: "adapter_model.bin",
  library: "peft",
  configOf: (config) => ({ ...config.toJSON(), inference_mode: true }),
  toDisk: (key) => key,
  fromDisk: (key) => key,
};
