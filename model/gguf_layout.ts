/**
 * How an architecture lies in llama.cpp's GGUF files: names, layouts and metadata.
 * @module
 */

import { GgufError, type GgufTensorInfo, type GgufValue } from "../io/gguf_header.ts";
import type { GgufFile } from "../io/gguf_reader.ts";
import type { GgufOut } from "../io/gguf_writer.ts";
import { quote } from "../io/relative_path.ts";

/** Where a parameter lies in a GGUF file, and what llama.cpp's converter did to it. */
export interface GgufPlace {
  /** The tensor's name. */
  readonly name: string;
  /** Rows of the tensor: those of one part of a fused one. Default all. */
  readonly rows?: readonly [first: number, end: number];
  /**
   * Heads whose rows are in ggml's order of rotary embeddings: pairs of neighbours, where Hugging Face has halves.
   * Default: rows in order.
   */
  readonly rotaryHeads?: number;
  /** Stored as [out, in] where the parameter is [in, out]. Default false. */
  readonly transposed?: boolean;
  /** Added to every number: -1 for norms that are stored as 1 + w. Default 0. */
  readonly shift?: number;
}

/** How llama.cpp's files hold an architecture. */
export interface GgufLayout<Config> {
  /** Values of `general.architecture`. */
  readonly architectures: readonly string[];
  /** The `general.architecture` of a model. */
  architectureOf(config: Config): string;
  /** The fields of config.json that the metadata say. @throws {GgufError} for metadata that are missing or of another type */
  readConfig(metadata: GgufMetadata): Record<string, unknown> | Promise<Record<string, unknown>>;
  /**
   * The metadata that `readConfig` reads, their names without the architecture.
   * @throws {TypeError} for a configuration that llama.cpp computes in another way
   */
  writeConfig(config: Config): ReadonlyMap<string, GgufOut>;
  /** Tensors besides the parameters, F32. */
  extraTensors?(config: Config): ReadonlyMap<string, Float32Array>;
  /** Places where the parameter at `path` may lie, the usual one first; none where the architecture has no such. */
  placesOf(path: string, config: Config): readonly GgufPlace[];
  /** Whether a file may hold a tensor of this name that no parameter wants. */
  ignores?(name: string): boolean;
}

/** How llama.cpp's files hold one model. */
export interface GgufFormat {
  /** Its `general.architecture`. */
  readonly architecture: string;
  /** Where the parameter at `path` lies; null where the architecture has no such. */
  placeOf(path: string): GgufPlace | null;
  /** Metadata, their names without the architecture. @throws {TypeError} for what llama.cpp computes in another way */
  metadata(): ReadonlyMap<string, GgufOut>;
  /** Tensors besides the parameters, F32. */
  extraTensors(): ReadonlyMap<string, Float32Array>;
}

/** The metadata of a file, read with their types checked. */
export class GgufMetadata {
  readonly #values: ReadonlyMap<string, GgufValue>;
  /** What messages call the file. */
  readonly name: string;
  /** Tensors of the file, by name. */
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;

  readonly #file: GgufFile;

  /** The metadata of an open file. */
  constructor(file: GgufFile) {
    this.#file = file;
    this.#values = file.metadata;
    this.name = file.name;
    this.tensors = file.tensors;
  }

  /** `general.architecture`. */
  get architecture(): string {
    const value = this.#values.get("general.architecture");
    if (typeof value === "string") return value;
    throw new GgufError(`Cannot load ${quote(this.name)}: general.architecture is required, received none`);
  }

  /** The number of `<architecture>.<key>`; undefined where there is none. @throws {GgufError} for another type */
  find(key: string): number | undefined {
    const full = `${this.architecture}.${key}`;
    const value = this.#values.get(full);
    if (value === undefined || typeof value === "number") return value;
    throw new GgufError(
      `Cannot load ${quote(this.name)}: ${full} must be a number, received ${typeof value}`,
    );
  }

  /** The same. @throws {GgufError} where there is none */
  number(key: string): number {
    const value = this.find(key);
    if (value !== undefined) return value;
    throw new GgufError(
      `Cannot load ${quote(this.name)}: ${this.architecture}.${key} is required, received none`,
    );
  }

  /** The value of a key, such as `tokenizer.ggml.eos_token_id`, where it is a number. */
  id(key: string): number | null {
    const value = this.#values.get(key);
    return typeof value === "number" ? value : null;
  }

  /** The numbers of a small F32 tensor; undefined where there is none. */
  async numbers(tensor: string): Promise<Float32Array | undefined> {
    if (this.tensors.get(tensor)?.type !== "F32") return undefined;
    const bytes = await this.#file.read(tensor);
    return new Float32Array(bytes.slice().buffer);
  }

  /** A text; undefined where there is none. */
  text(key: string): string | undefined {
    const value = this.#values.get(key);
    return typeof value === "string" ? value : undefined;
  }
}
