/**
 * Numbers as GGUF files hold them.
 *
 * @module
 */
import { fromFloat32 } from "./safetensors.ts";

/** Rows of each head from Hugging Face's order of rotary embeddings (s D/2 + i) to ggml's (2 i + s); `width` numbers a row. */
export function inPairs(rows: Float32Array, width: number, heads: number): Float32Array {
  const out = new Float32Array(rows.length);
  const half = rows.length / width / heads / 2;
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < half; i++) {
      for (const s of [0, 1]) {
        const from = (2 * head * half + s * half + i) * width;
        out.set(rows.subarray(from, from + width), (2 * head * half + 2 * i + s) * width);
      }
    }
  }
  return out;
}

const BLOCK = 32;

/** Blocks of 32 numbers as a float16 scale and 32 int8. Source: `Q8_0.quantize_blocks` of gguf-py 0.19. */
export function quantizeQ8_0(values: Float32Array): Uint8Array {
  const blocks = values.length / BLOCK;
  const out = new Uint8Array(blocks * (2 + BLOCK));
  const scales = new Float32Array(blocks);
  const { fround, abs, floor, sign } = Math;
  for (let block = 0; block < blocks; block++) {
    let greatest = 0;
    for (let i = 0; i < BLOCK; i++) greatest = Math.max(greatest, abs(values[block * BLOCK + i]));
    const scale = scales[block] = fround(greatest / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    for (let i = 0; i < BLOCK; i++) {
      const x = fround(values[block * BLOCK + i] * inverse);
      out[block * (2 + BLOCK) + 2 + i] = sign(x) * floor(fround(abs(x) + 0.5)); // halves away from zero
    }
  }
  const halves = fromFloat32("F16", scales);
  for (let block = 0; block < blocks; block++) {
    out.set(halves.subarray(2 * block, 2 * block + 2), block * (2 + BLOCK));
  }
  return out;
}
