/**
 * safetensors files: open, load, save. `load` and `save` move whole files; {@linkcode openSafetensors} reads tensor by
 * tensor; `checkpoint.ts` reads sharded ones.
 *
 * @module
 */
import type { Bytes, FileInput } from "./file_source.ts";
import type { SafetensorsDtype } from "./safetensors_dtype.ts";
import { SafetensorsError } from "./safetensors_header.ts";
import { fromFloat32, toFloat32 } from "./safetensors_numbers.ts";
import { load, openSafetensors, type SafetensorsEntry, type SafetensorsFile } from "./safetensors_reader.ts";
import { parseHeader } from "./safetensors_strict_header.ts";
import {
  byteLengthOf,
  type Metadata,
  type SafetensorsInputs,
  safetensorsPieces,
  save,
  serialize,
} from "./safetensors_writer.ts";

export type { SafetensorsDtype } from "./safetensors_dtype.ts";
export type { PlacedTensor, SafetensorsHeader, TensorInfo } from "./safetensors_header.ts";
export type { SafetensorsEntry, SafetensorsFile, TensorReader } from "./safetensors_reader.ts";
export type { Metadata, SafetensorsInput, SafetensorsInputs } from "./safetensors_writer.ts";
export {
  byteLengthOf,
  fromFloat32,
  load,
  openSafetensors,
  parseHeader,
  SafetensorsError,
  safetensorsPieces,
  save,
  serialize,
  toFloat32,
};

/**
 * The functions on safetensors files.
 *
 * @example
 * ```ts
 * import { type Safetensors, safetensors } from "@peft/webgpu/io";
 *
 * const { load, toFloat32 }: Safetensors = safetensors;
 * const { dtype, data } = (await load("examples/demo/model/model.safetensors")).get("transformer.ln_f.weight")!;
 * console.log(toFloat32(dtype, data).length); // 128
 * ```
 */
export interface Safetensors {
  /** Every tensor of a file, whole in memory. */
  load(input: FileInput): Promise<Map<string, SafetensorsEntry>>;
  /** Writes a file, crash-safe. */
  save(path: string, entries: SafetensorsInputs, metadata?: Metadata): Promise<void>;
  /** The bytes of a file. */
  serialize(entries: SafetensorsInputs, metadata?: Metadata): Bytes;
  /** Opens a file to read tensor by tensor. */
  open(input: FileInput): Promise<SafetensorsFile>;
  /** Elements of F32, F16, BF16 or F64 as float32. */
  toFloat32(dtype: SafetensorsDtype, bytes: Uint8Array): Float32Array<ArrayBuffer>;
  /** float32 elements as another format, rounded to nearest even. */
  fromFloat32(dtype: SafetensorsDtype, values: Float32Array): Uint8Array<ArrayBuffer>;
}

/**
 * The functions on safetensors files under one name, as in Python: `safetensors.load(path)`.
 *
 * @example
 * ```ts
 * import { safetensors } from "@peft/webgpu";
 *
 * const bytes = safetensors.serialize({ a: { dtype: "F32", shape: [2], data: new Float32Array([1, 2]) } });
 * for (const [name, { dtype, shape }] of await safetensors.load(bytes)) console.log(name, dtype, shape);
 * ```
 */
export const safetensors: Safetensors = {
  load,
  save,
  serialize,
  open: openSafetensors,
  toFloat32,
  fromFloat32,
};
