/**
 * Numbers of safetensors files as Float32Array and back. Bytes are little-endian, as in the file and in every runtime with
 * WebGPU.
 *
 * @module
 */
import { aligned, elementBytes, float32Of, type SafetensorsDtype } from "./safetensors_dtype.ts";

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

/**
 * The elements of an F32, F16, BF16 or F64 tensor as float32; F64 is rounded to the nearest. For F32 the result may
 * share the memory of `bytes`.
 *
 * @throws {TypeError} for other dtypes, RangeError when the bytes are not whole elements.
 */
export function toFloat32(dtype: SafetensorsDtype, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const width = elementBytes(dtype);
  if (bytes.length % width !== 0) {
    throw new RangeError(
      `Cannot convert ${dtype} to float32: a multiple of ${width} bytes is required, received ${bytes.length}`,
    );
  }
  switch (dtype) {
    case "F32":
      return float32Of(bytes);
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
