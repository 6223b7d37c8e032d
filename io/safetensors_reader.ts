/**
 * Reading safetensors files: the header first, checked whole; the data on demand.
 *
 * @module
 */
import type { Bytes, FileInput, FileSource } from "./file_source.ts";
import { openFile } from "./open_file.ts";
import type { SafetensorsDtype } from "./safetensors_dtype.ts";
import {
  headerLength,
  type PlacedTensor,
  placeTensors,
  readPlainHeader,
  type SafetensorsHeader,
  type TensorInfo,
} from "./safetensors_header.ts";
import { TensorFile } from "./tensor_file.ts";

/**
 * A tensor of a file, whole in memory.
 *
 * @example
 * ```ts
 * import { safetensors, type SafetensorsEntry } from "@peft/webgpu/io";
 *
 * const norm = ({ dtype, data }: SafetensorsEntry) => Math.hypot(...safetensors.toFloat32(dtype, data));
 * const entries = await safetensors.load("examples/demo/model/model.safetensors");
 * console.log(norm(entries.get("transformer.ln_f.bias")!).toFixed(3));
 * ```
 */
export interface SafetensorsEntry {
  /** Format of the elements. */
  dtype: SafetensorsDtype;
  /** Size of each dimension. */
  shape: readonly number[];
  /** The elements, little-endian. */
  data: Uint8Array;
}

/**
 * Tensors that can be read one by one: an open file, or all shards of a checkpoint.
 *
 * @example
 * ```ts
 * import { safetensors, type TensorReader } from "@peft/webgpu/io";
 *
 * // bytes of the tensors of one layer
 * const layerBytes = (reader: TensorReader, layer: string) =>
 *   reader.names().filter((name) => name.startsWith(`${layer}.`))
 *     .reduce((sum, name) => sum + reader.info(name).byteLength, 0);
 * await using file = await safetensors.open("examples/demo/model/model.safetensors");
 * console.log(layerBytes(file, "transformer.h.0"));
 * ```
 */
export interface TensorReader {
  /** What error messages call it. */
  readonly name: string;
  /** The `__metadata__` of the file; empty when there is none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** All tensor names, in file order. */
  names(): string[];
  /** True when there is a tensor of that name. */
  has(name: string): boolean;
  /** Dtype, shape and byte length; @throws {RangeError} when there is no such tensor. */
  info(name: string): TensorInfo;
  /** All bytes of a tensor. */
  read(name: string): Promise<Bytes>;
  /**
   * The bytes of a tensor in pieces of at most `maxBytes`, for tensors larger than one wants in memory. With `room`, a piece
   * may lie in it: it is good until the next is asked for.
   */
  readChunks(name: string, maxBytes: number, room?: Bytes): AsyncIterableIterator<Bytes>;
  /** Releases the file; later reads fail. */
  close(): Promise<void>;
}

/**
 * An open safetensors file. Memory: its header, and what the caller reads.
 *
 * @example
 * ```ts
 * import { safetensors, type SafetensorsFile } from "@peft/webgpu/io";
 *
 * await using file: SafetensorsFile = await safetensors.open("examples/demo/model/model.safetensors");
 * for (const name of file.names().slice(0, 3)) console.log(name, file.info(name).shape);
 * console.log((await file.read("transformer.ln_f.weight")).length); // 512: no other tensor is read
 * ```
 */
export class SafetensorsFile extends TensorFile<PlacedTensor> implements TensorReader {
  readonly #header: SafetensorsHeader;

  /** Use {@linkcode openSafetensors}. */
  constructor(source: FileSource, header: SafetensorsHeader) {
    super(source, header.tensors);
    this.#header = header;
  }

  /** The `__metadata__` of the file; empty when there is none. */
  get metadata(): ReadonlyMap<string, string> {
    return this.#header.metadata;
  }

  /** All tensor names, in file order. */
  names(): string[] {
    return [...this.#header.tensors.keys()];
  }

  /** True when the file has a tensor of that name. */
  has(name: string): boolean {
    return this.#header.tensors.has(name);
  }

  /**
   * Dtype, shape and place of a tensor.
   *
   * @throws {RangeError} when there is none of that name.
   */
  info(name: string): PlacedTensor {
    return { ...this.placed(name) };
  }
}

/**
 * Opens a safetensors file and checks its whole header; the data is read on demand.
 *
 * @param input path, bytes, Blob or source.
 * @throws {SafetensorsError} when the file is not valid; an Error when it cannot be opened.
 */
export async function openSafetensors(input: FileInput): Promise<SafetensorsFile> {
  const source = await openFile(input);
  try {
    const start = await source.read(0, Math.min(8, source.size));
    const length = headerLength(start, source.size, source.name);
    const json = await source.read(8, length);
    const header = readPlainHeader(json) ??
      (await import("./safetensors_strict_header.ts")).readStrictHeader(json, source.name);
    return new SafetensorsFile(source, placeTensors(header, length, source.size - 8 - length, source.name));
  } catch (error) {
    await source.close();
    throw error;
  }
}

/**
 * Loads all tensors of a file.
 *
 * @param input path, bytes, Blob or source; of bytes in memory, `data` are views.
 * @returns name to dtype, shape and bytes, in file order.
 * @throws {SafetensorsError} when the file is not valid.
 */
export async function load(input: FileInput): Promise<Map<string, SafetensorsEntry>> {
  const file = await openSafetensors(input);
  try {
    const entries = new Map<string, SafetensorsEntry>();
    for (const name of file.names()) {
      const { dtype, shape } = file.info(name);
      entries.set(name, { dtype, shape, data: await file.read(name) });
    }
    return entries;
  } finally {
    await file.close();
  }
}
