/**
 * The number formats of safetensors files. Bytes are little-endian, as in the file and in every runtime with WebGPU.
 *
 * @module
 */

/**
 * A dtype name of the safetensors format.
 *
 * @example
 * ```ts
 * import { safetensors, type SafetensorsDtype } from "@peft/webgpu/io";
 *
 * for (const dtype of ["F16", "BF16"] satisfies SafetensorsDtype[]) {
 *   const bytes = safetensors.fromFloat32(dtype, new Float32Array([0.1]));
 *   console.log(dtype, safetensors.toFloat32(dtype, bytes)[0]); // the number that each keeps of 0.1
 * }
 * ```
 */
export type SafetensorsDtype =
  | "BOOL"
  | "F4"
  | "F6_E2M3"
  | "F6_E3M2"
  | "U8"
  | "I8"
  | "F8_E5M2"
  | "F8_E4M3"
  | "F8_E8M0"
  | "F8_E4M3FNUZ"
  | "F8_E5M2FNUZ"
  | "I16"
  | "U16"
  | "F16"
  | "BF16"
  | "I32"
  | "U32"
  | "F32"
  | "C64"
  | "F64"
  | "I64"
  | "U64";

/**
 * Bits per element, in the order in which safetensors sorts dtypes (rising alignment).
 * Source: `enum Dtype` in safetensors/src/tensor.rs, version 0.8.
 */
const DTYPE_BITS: Readonly<Record<SafetensorsDtype, number>> = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
};

const ORDER = new Map((Object.keys(DTYPE_BITS) as SafetensorsDtype[]).map((dtype, index) => [dtype, index]));

/** True when `name` is a dtype of the format. */
export function isDtype(name: unknown): name is SafetensorsDtype {
  return ORDER.has(name as SafetensorsDtype);
}

/** The rank by which files are sorted: greater alignment first in the file. */
export function dtypeOrder(dtype: SafetensorsDtype): number {
  return ORDER.get(dtype)!;
}

/** Bytes of a tensor; undefined when they are not a whole number up to 2^53 - 1. */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    if (elements > Number.MAX_SAFE_INTEGER) return undefined;
  }
  const bits = elements * DTYPE_BITS[dtype];
  return bits <= Number.MAX_SAFE_INTEGER && bits % 8 === 0 ? bits / 8 : undefined;
}

/** Bytes of an element; a fraction for formats of a few bits. */
export function elementBytes(dtype: SafetensorsDtype): number {
  return DTYPE_BITS[dtype] / 8;
}

/** A view of the bytes in another element type; a copy where their alignment does not allow a view. */
export function aligned(
  bytes: Uint8Array,
  elementBytes: number,
): { buffer: ArrayBuffer; at: number; count: number } {
  const fits = bytes.byteOffset % elementBytes === 0 && bytes.buffer instanceof ArrayBuffer;
  const source = (fits ? bytes : new Uint8Array(bytes)) as Uint8Array<ArrayBuffer>;
  return { buffer: source.buffer, at: source.byteOffset, count: bytes.length / elementBytes };
}

/** The elements of an F32 tensor, in the memory of `bytes` where their alignment allows it. */
export function float32Of(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const { buffer, at, count } = aligned(bytes, 4);
  return new Float32Array(buffer, at, count);
}
