/**
 * The number formats of safetensors files, and their conversion to and from Float32Array. Bytes are little-endian, as
 * in the file and in every runtime with WebGPU.
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
export function isDtype(name: string): name is SafetensorsDtype {
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

const scratch = new DataView(new ArrayBuffer(4));

function widenF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

let f16Table: Float32Array | undefined;

/** All 65,536 halves as float32: a table read is several times faster than the arithmetic. */
function f16ToF32(): Float32Array {
  return f16Table ??= Float32Array.from({ length: 65536 }, (_, half) => widenF16(half));
}

/** A view of the bytes in another element type; a copy where their alignment does not allow a view. */
function aligned(
  bytes: Uint8Array,
  elementBytes: number,
): { buffer: ArrayBuffer; at: number; count: number } {
  const fits = bytes.byteOffset % elementBytes === 0 && bytes.buffer instanceof ArrayBuffer;
  const source = (fits ? bytes : new Uint8Array(bytes)) as Uint8Array<ArrayBuffer>;
  return { buffer: source.buffer, at: source.byteOffset, count: bytes.length / elementBytes };
}

/**
 * The elements of an F32, F16, BF16 or F64 tensor as float32; F64 is rounded to the nearest. For F32 the result may
 * share the memory of `bytes`.
 *
 * @throws {TypeError} for other dtypes, RangeError when the bytes are not whole elements.
 */
export function toFloat32(dtype: SafetensorsDtype, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const elementBytes = DTYPE_BITS[dtype] / 8;
  if (bytes.length % elementBytes !== 0) {
    throw new RangeError(
      `Cannot convert ${dtype} to float32: a multiple of ${elementBytes} bytes is required, received ${bytes.length}`,
    );
  }
  switch (dtype) {
    case "F32": {
      const { buffer, at, count } = aligned(bytes, 4);
      return new Float32Array(buffer, at, count);
    }
    case "F64": {
      const { buffer, at, count } = aligned(bytes, 8);
      return new Float32Array(new Float64Array(buffer, at, count));
    }
    case "F16": {
      const { buffer, at, count } = aligned(bytes, 2);
      const halves = new Uint16Array(buffer, at, count);
      const table = f16ToF32();
      const values = new Float32Array(count);
      for (let i = 0; i < count; i++) values[i] = table[halves[i]!]!;
      return values;
    }
    case "BF16": {
      const { buffer, at, count } = aligned(bytes, 2);
      const halves = new Uint16Array(buffer, at, count);
      const bits = new Uint32Array(count);
      for (let i = 0; i < count; i++) bits[i] = halves[i]! << 16;
      return new Float32Array(bits.buffer);
    }
    default:
      throw new TypeError(
        `Cannot convert ${dtype} to float32: F32, F16, BF16 or F64 is required, received ${dtype}`,
      );
  }
}

/** The half nearest to a float32 given by its bits, ties to even; overflow gives infinity, NaN stays NaN. */
function narrowF16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520 on: infinity
  if (magnitude >= 0x38800000) { // normal halves: drop 13 bits, and rebias the exponent by 112
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // Subnormal halves are multiples of 2^-24. Adding 0.5, whose last place is 2^-24, lets float32 addition do the
  // rounding to nearest even.
  scratch.setUint32(0, magnitude);
  scratch.setFloat32(0, scratch.getFloat32(0) + 0.5);
  return sign | (scratch.getUint32(0) - 0x3f000000);
}

/** The bfloat16 nearest to a float32 given by its bits, ties to even; NaN stays a quiet NaN. */
function narrowBF16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/**
 * Float32 values as the bytes of an F32, F16 or BF16 tensor, rounded to the nearest, ties to even.
 *
 * @throws {TypeError} for other dtypes.
 */
export function fromFloat32(dtype: SafetensorsDtype, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  if (dtype !== "F16" && dtype !== "BF16") {
    throw new TypeError(
      `Cannot convert float32 to ${dtype}: F32, F16 or BF16 is required, received ${dtype}`,
    );
  }
  const narrow = dtype === "F16" ? narrowF16 : narrowBF16;
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) halves[i] = narrow(bits[i]!);
  return new Uint8Array(halves.buffer);
}
