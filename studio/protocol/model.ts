/**
 * Where a model comes from, and what is told of it.
 * @module
 */

import type { NamedFile } from "./basics.ts";

export type ModelSource =
  | { readonly kind: "builtin" }
  /** `file` chooses one .gguf of several. */
  | {
    readonly kind: "hub";
    readonly repo: string;
    readonly revision?: string;
    readonly token?: string;
    readonly file?: string;
  }
  /** A folder's address, or that of a .gguf file, which is read in ranges. */
  | { readonly kind: "url"; readonly url: string }
  /** A dropped folder, its files, or one .gguf. */
  | { readonly kind: "files"; readonly name: string; readonly files: readonly NamedFile[] };

/** How frozen weights lie on the device; "auto": as the file has them where that can be trained on. */
export type WeightStorage = "auto" | "float32" | "float16" | "nf4" | "int8";

export interface OpenModelOptions {
  readonly source: ModelSource;
  readonly storage?: WeightStorage;
}

export interface ModelFacts {
  /** What a reader calls it: the hub id, the file's or folder's name, "Built-in storyteller". */
  readonly name: string;
  /** `gpt2`, `llama`, … */
  readonly modelType: string;
  readonly parameters: number;
  /** How the weights lie on the device, such as `float32` or `Q8_0`. */
  readonly format: string;
  readonly deviceBytes: number;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly layers: number;
  readonly hasChatTemplate: boolean;
  /** Module names that adapters can take, such as `c_attn`. */
  readonly linearModules: readonly string[];
  /** Whether GGUF export is possible, and if not, why. */
  readonly ggufProblem: string | null;
  /** Shown once: what the engine noticed, such as a tokenizer without an end token. */
  readonly notes: readonly string[];
}
