/**
 * Numbers as GGUF files hold them.
 *
 * @module
 */
import { fromFloat32 } from "./safetensors.ts";

/** Rows of each head, moved from the place that `from` says to the one that `to` says. */
function moveRows<T extends Uint8Array | Float32Array>(
  rows: T,
  width: number,
  heads: number,
  from: (i: number, s: number, half: number) => number,
  to: (i: number, s: number, half: number) => number,
): T {
  const out = rows.slice() as T;
  const half = rows.length / width / heads / 2;
  for (let head = 0; head < heads; head++) {
    const first = 2 * head * half;
    for (let i = 0; i < half; i++) {
      for (const s of [0, 1]) {
        const at = (first + from(i, s, half)) * width;
        out.set(rows.subarray(at, at + width), (first + to(i, s, half)) * width);
      }
    }
  }
  return out;
}

/** Hugging Face's order of rotary embeddings, and ggml's. */
const halves = (i: number, s: number, half: number) => s * half + i;
const pairs = (i: number, s: number) => 2 * i + s;

/** Rows of each head from Hugging Face's order to ggml's; `width` elements a row. */
export function inPairs<T extends Uint8Array | Float32Array>(rows: T, width: number, heads: number): T {
  return moveRows(rows, width, heads, halves, pairs);
}

/** Rows of each head from ggml's order to Hugging Face's; `width` elements a row. */
export function inHalves<T extends Uint8Array | Float32Array>(rows: T, width: number, heads: number): T {
  return moveRows(rows, width, heads, pairs, halves);
}

/** The transpose of a matrix [rows, columns]. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) out[j * rows + i] = values[i * columns + j];
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
