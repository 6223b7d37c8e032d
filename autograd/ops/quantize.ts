/**
 * Weights in bitsandbytes' formats, from float32 and from the tensors that its checkpoints have.
 * @module
 */
import { dynamicMap } from "../../kernels/dynamic_codes.ts";
import { quantizeRows } from "../../kernels/quantize_rows.ts";
import { type BitsandbytesFormatName, fitsFormat, WEIGHT_FORMATS } from "../../kernels/weights/mod.ts";
import { showShape } from "../shape.ts";
import { untracked } from "../scope.ts";
import { empty, readAndDispose, Tensor } from "../tensor.ts";
import { rowWindows } from "../windows.ts";
import { cast } from "./cast.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Numbers that share a scale, and scales that share a factor. */
const BLOCK = 64;
const NESTED = 256;

/** A weight as bitsandbytes' files have it. */
export interface BitsandbytesParts {
  /** Codes in the order of the numbers: two per byte, the first in its high half; int8: one per byte. */
  readonly codes: Bytes;
  /** Scale of each block; of each row for int8; for `_double` formats their codes. */
  readonly scales: Float32Array | Uint8Array;
  /** Factor of 256 scales, and what is added to all: of `_double` formats. */
  readonly factors?: Float32Array;
  readonly offset?: number;
}

/** The bytes of a weight in a format. */
export function packBitsandbytes(
  type: BitsandbytesFormatName,
  shape: readonly number[],
  { codes, scales, factors, offset = 0 }: BitsandbytesParts,
): Bytes {
  const size = shape[0] * shape[1];
  const blocks = size / BLOCK;
  const codeBytes = type === "int8" ? BLOCK : BLOCK / 2;
  if (factors === undefined) {
    const out = new Uint8Array(blocks * (4 + codeBytes));
    const view = new DataView(out.buffer);
    for (let block = 0; block < blocks; block++) {
      const at = block * (4 + codeBytes);
      const scale = type === "int8"
        ? Math.fround(scales[Math.floor(block * BLOCK / shape[1])] * Math.fround(1 / 127))
        : scales[block];
      view.setFloat32(at, scale, true);
      out.set(codes.subarray(block * codeBytes, (block + 1) * codeBytes), at + 4);
    }
    return out;
  }
  const main = blocks / 4 * (4 + 4 * codeBytes);
  const start = Math.ceil(main / 256) * 256;
  const out = new Uint8Array(start + 8 * factors.length);
  for (let four = 0; four < blocks / 4; four++) {
    const at = four * (4 + 4 * codeBytes);
    out.set(scales.subarray(4 * four, 4 * four + 4), at);
    out.set(codes.subarray(4 * four * codeBytes, 4 * (four + 1) * codeBytes), at + 4);
  }
  const pairs = new DataView(out.buffer, start);
  factors.forEach((factor, i) => {
    pairs.setFloat32(8 * i, factor, true);
    pairs.setFloat32(8 * i + 4, offset, true);
  });
  return out;
}

/** Scales as codes of the dynamic map, their factors and their offset. */
function quantizeScales(scales: Float32Array): Required<Omit<BitsandbytesParts, "codes">> {
  const { fround, abs, max, min } = Math;
  const map = dynamicMap();
  const bounds = Float32Array.from({ length: 255 }, (_, i) => fround(fround(map[i] + map[i + 1]) / 2));
  const offset = fround(scales.reduce((sum, scale) => sum + scale, 0) / scales.length);
  const codes = new Uint8Array(scales.length);
  const factors = new Float32Array(Math.ceil(scales.length / NESTED));
  for (let block = 0; block < factors.length; block++) {
    const [first, end] = [block * NESTED, min((block + 1) * NESTED, scales.length)];
    let most = 0;
    for (let i = first; i < end; i++) most = max(most, abs(fround(scales[i] - offset)));
    factors[block] = most;
    const inverse = fround(1 / max(most, 1.2e-38));
    for (let i = first; i < end; i++) {
      const value = max(-1, min(1, fround(fround(scales[i] - offset) * inverse)));
      let [low, high] = [0, 255]; // the code: how many bounds are below the value
      while (low < high) {
        const middle = (low + high) >> 1;
        if (bounds[middle] < value) low = middle + 1;
        else high = middle;
      }
      codes[i] = low;
    }
  }
  return { scales: codes, factors, offset };
}

/** Codes and scales of a weight in "nf4" or "fp4". */
function partsOf(bytes: Bytes): { codes: Bytes; scales: Float32Array } {
  const unit = 4 + BLOCK / 2;
  const blocks = bytes.length / unit;
  const codes = new Uint8Array(blocks * BLOCK / 2);
  const scales = new Float32Array(blocks);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let block = 0; block < blocks; block++) {
    scales[block] = view.getFloat32(block * unit, true);
    codes.set(bytes.subarray(block * unit + 4, (block + 1) * unit), block * BLOCK / 2);
  }
  return { codes, scales };
}

/** Formats whose scales are float32, so that the device quantises alone. */
export type PlainQuantization = Exclude<BitsandbytesFormatName, `${string}_double`>;

function checkShape({ shape }: Tensor, type: BitsandbytesFormatName): void {
  const format = WEIGHT_FORMATS[type];
  if (shape.length === 2 && fitsFormat(format, shape)) return;
  throw new TypeError(`Cannot quantise ${showShape(shape)} to ${type}: ${format.rule}`);
}

/**
 * A weight in one of bitsandbytes' formats, with its codes and scales, without waiting; outside the gradient graph.
 * @param x float32 [out, in]
 * @throws {TypeError} for a shape that the format cannot hold
 */
export function quantizeNow(x: Tensor, type: PlainQuantization): Tensor {
  checkShape(x, type);
  const { device, shape } = x;
  if (type === "nf4" || type === "fp4") return untracked(() => cast(x, type));
  const [rows, cols] = shape;
  const y = untracked(() => empty(device, shape, type));
  const rowBytes = cols / BLOCK * 68;
  for (const { first, count, views: [view] } of rowWindows(x, rows, cols)) {
    const to = y.window(first * rowBytes, count * rowBytes);
    device.dispatch(quantizeRows, { x: view, y: to }, { rows: count, cols });
  }
  return y;
}

/**
 * A weight in any of bitsandbytes' formats, with its codes and scales; outside the gradient graph.
 * @param x float32 [out, in]
 * @throws {TypeError} for a shape that the format cannot hold
 */
export async function quantize(x: Tensor, type: BitsandbytesFormatName): Promise<Tensor> {
  checkShape(x, type);
  if (type !== "nf4_double" && type !== "fp4_double") return quantizeNow(x, type);
  const { device, shape } = x;
  const plain = untracked(() => cast(x, type === "nf4_double" ? "nf4" : "fp4"));
  const { codes, scales } = partsOf(await readAndDispose(plain) as Bytes);
  const bytes = packBitsandbytes(type, shape, { codes, ...quantizeScales(scales) });
  return untracked(() => Tensor.from(bytes, { device, shape, dtype: type }));
}
