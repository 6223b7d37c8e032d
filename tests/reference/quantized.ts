/**
 * Weights in formats of few bits: any codes, and scales of an ordinary size.
 * @module
 */
import { type Device, type QuantizedType, Tensor } from "../../autograd/mod.ts";
import { WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";

/** Where a block has half-precision scales, by format: byte offsets. */
const HALVES: Partial<Record<QuantizedType, readonly number[]>> = {
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q8_0: [0],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  iq4_nl: [0],
};

/** Formats of GGUF. */
export const GGUF_TYPES = Object.keys(HALVES) as QuantizedType[];

/** Bytes of `size` random elements. */
export function randomBlocks(type: QuantizedType, size: number, seed: number): Uint8Array<ArrayBuffer> {
  const [{ elements, bytes }] = WEIGHT_FORMATS[type].buffers;
  let state = seed;
  const data = Uint8Array.from({ length: size / elements * bytes }, () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state >>> 24;
  });
  for (const offset of HALVES[type]!) {
    // 2^-11 to 2^-9, and a sign: with codes of up to 2^7 and sub-scales of up to 2^7 numbers stay below 32.
    for (let at = offset; at < data.length; at += bytes) data[at + 1] = 0x10 | (data[at + 1] & 0x87);
  }
  return data;
}

/** A weight of random blocks. */
export function randomWeight(
  device: Device,
  type: QuantizedType,
  shape: readonly number[],
  seed: number,
): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.from(randomBlocks(type, size, seed), { device, dtype: type, shape });
}
