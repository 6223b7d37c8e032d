/**
 * How gradients of a share travel: as they are, or rounded to float16 with error feedback: what rounding lost of a share is
 * added to the same share of the next step, so that no gradient is lost, however small (Seide et al. 2014, "1-Bit Stochastic
 * Gradient Descent"; Karimireddy et al. 2019, "Error Feedback Fixes SignSGD").
 *
 * What rounding lost is itself bytes that are kept beside the share, and whoever computes the next one reads them as they
 * are. So a share depends on nothing but weights, data and those bytes, and is the same whichever process computes it.
 * All arithmetic is exact or rounded as IEEE 754 says, so that it is the same in every JavaScript engine.
 * @module
 */

import { fromFloat32, toFloat32 } from "../io/safetensors_numbers.ts";
import {
  packHead,
  packShare,
  type ShareForm,
  type ShareNumbers,
  unpackHead,
  unpackShare,
} from "./gradient_share.ts";

/**
 * Names of the ways.
 *
 * @example
 * ```ts
 * import { GRADIENT_COMPRESSIONS } from "@peft/webgpu/train";
 *
 * console.log(GRADIENT_COMPRESSIONS.join(" or ")); // none or float16
 * ```
 */
export const GRADIENT_COMPRESSIONS = ["none", "float16"] as const;
/**
 * How gradients travel: "none": float32; "float16": half as many bytes, with error feedback.
 *
 * @example
 * ```ts
 * import type { GradientCompression } from "@peft/webgpu/train";
 *
 * const bytesPerNumber: Record<GradientCompression, number> = { none: 4, float16: 2 };
 * const trained = 3_500_000; // a LoRA's numbers
 * console.log(`${bytesPerNumber.float16 * trained / 1e6} MB for each share of a step`); // 7 MB for each share of a step
 * ```
 */
export type GradientCompression = typeof GRADIENT_COMPRESSIONS[number];

/**
 * A share as a process computed it.
 *
 * @example
 * ```ts
 * import type { ComputedShare, GradientExchange } from "@peft/webgpu/train";
 *
 * // counts the bytes that this process computes for others
 * function counting(exchange: GradientExchange, count: (bytes: number) => void): GradientExchange["exchange"] {
 *   return (step, shares, compute, signal) =>
 *     exchange.exchange(step, shares, async (share, previous) => {
 *       const own: ComputedShare = await compute(share, previous);
 *       count(own.bytes.length + (own.residual?.length ?? 0));
 *       return own;
 *     }, signal);
 * }
 * ```
 */
export interface ComputedShare {
  /** What all processes read and add up. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What rounding lost, which whoever computes this share of the next step needs; null where nothing is rounded. */
  readonly residual: Uint8Array<ArrayBuffer> | null;
}

/** Bytes of a share and what they say. */
interface ShareCodec {
  /** @param previous the same share of the step before; null where there is none */
  pack(share: ShareNumbers, previous: ComputedShare | null, form: ShareForm): ComputedShare;
  /** @throws {TypeError} for bytes of another run */
  unpack(bytes: Uint8Array, form: ShareForm): ShareNumbers;
}

const uncompressed: ShareCodec = {
  pack: (share) => ({ bytes: packShare(share), residual: null }),
  unpack: unpackShare,
};

/** 2^n, exactly. @param n from -1022 to 1023 */
const powerOfTwo = (n: number) => new Float64Array(BigUint64Array.of(BigInt(n + 1023) << 52n).buffer)[0];

/** Exponent of a positive float32 given by its bits: it is at least 2^e and less than 2^(e+1). */
const exponentOf = (bits: number) => bits >>> 23 ? (bits >>> 23) - 127 : -118 - Math.clz32(bits);

/** The largest value of a tensor becomes at least 2^14 and less than 2^15: the largest of float16 is almost 2^16. */
const LARGEST = 14;
const INFINITE = 0x7f800000;

/** The power of two that a tensor's values are multiples of before they are rounded. NaN and infinities do not count. */
function scaleOf(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let largest = 0;
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i] & 0x7fffffff;
    if (magnitude > largest && magnitude < INFINITE) largest = magnitude;
  }
  return largest === 0 ? 0 : exponentOf(largest) - LARGEST;
}

/** Distance of neighbouring float16 numbers about one, given by its bits. */
const STEPS: readonly number[] = Array.from(
  { length: 32 },
  (_, exponent) => powerOfTwo(Math.max(1, exponent) - 25),
);
const stepOf = (half: number) => STEPS[(half >> 10) & 31];
/** Whether bits of a float16 are NaN or an infinity. */
const isNonFinite = (half: number) => (half & 0x7c00) === 0x7c00;
/** Parts of the distance between float16 neighbours in which the residual is given: it is at most half of it. */
const PARTS = 256;

/** Bytes of gradients: a scale for each tensor as int16, filled up to four bytes, and the values. */
const float16Bytes = (sizes: readonly number[]) =>
  4 * Math.ceil(sizes.length / 2) + 2 * sizes.reduce((sum, size) => sum + size, 0);

/** A gradient as it was rounded: values are `halves` times 2^scale. */
interface Rounded {
  readonly scale: number;
  readonly halves: Uint16Array<ArrayBuffer>;
}

/** Loss and sums, and each gradient of a share; null for one that is not there. */
function readRounded(bytes: Uint8Array, form: ShareForm) {
  const { isThere, rest, ...head } = unpackHead(bytes, form, float16Bytes);
  const scales = new Int16Array(rest.buffer);
  let at = 4 * Math.ceil(isThere.filter(Boolean).length / 2);
  let next = 0;
  const rounded = form.sizes.map((size, i): Rounded | null => {
    if (!isThere[i]) return null;
    const halves = new Uint16Array(rest.buffer, at, size);
    at += 2 * size;
    return { scale: scales[next++], halves };
  });
  return { ...head, rounded };
}

/** Values that were rounded, as float32. */
function widen({ scale, halves }: Rounded): Float32Array {
  const values = toFloat32("F16", new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength));
  const factor = powerOfTwo(scale);
  for (let i = 0; i < values.length; i++) values[i] *= factor;
  return values;
}

/** Adds what rounding lost. */
function addResidual(values: Float32Array, { scale, halves }: Rounded, residual: Int8Array): void {
  const factor = powerOfTwo(scale) / PARTS;
  for (let i = 0; i < values.length; i++) values[i] += residual[i] * stepOf(halves[i]) * factor;
}

/** Rounds a tensor. @param residual where what is lost goes: parts of the distance between neighbours */
function round(values: Float32Array, residual: Int8Array): Rounded {
  const scale = scaleOf(values);
  const factor = powerOfTwo(-scale);
  const scaled = values.slice();
  for (let i = 0; i < scaled.length; i++) scaled[i] *= factor;
  const bytes = fromFloat32("F16", scaled);
  const halves = new Uint16Array(bytes.buffer);
  const rounded = toFloat32("F16", bytes);
  for (let i = 0; i < halves.length; i++) {
    if (isNonFinite(halves[i])) continue; // it ends this step; the next one begins without it
    const parts = Math.round((scaled[i] - rounded[i]) / stepOf(halves[i]) * PARTS);
    residual[i] = Math.min(127, parts);
  }
  return { scale, halves };
}

const float16: ShareCodec = {
  pack(share, previous, form) {
    const before = previous && readRounded(previous.bytes, form).rounded;
    const lostBefore = new Int8Array(previous?.residual ?? []);
    const there = before?.reduce((sum, rounded) => sum + (rounded?.halves.length ?? 0), 0) ?? 0;
    if (lostBefore.length !== there) {
      throw new TypeError(
        `Cannot compress gradients: ${there} bytes of what rounding left of the step before are required, received ${lostBefore.length}`,
      );
    }
    const present = share.gradients.filter((gradient) => gradient !== null);
    const sizes = present.map(({ length }) => length);
    const { bytes, at } = packHead(share, float16Bytes(sizes));
    const residual = new Int8Array(sizes.reduce((sum, size) => sum + size, 0));
    const scales = new Int16Array(bytes.buffer, at, present.length);
    let [from, to, next] = [0, 0, 0];
    let place = at + 4 * Math.ceil(present.length / 2);
    share.gradients.forEach((gradient, i) => {
      const rounded = before?.[i] ?? null;
      const lost = lostBefore.subarray(from, from += rounded?.halves.length ?? 0);
      if (gradient === null) return;
      const values = gradient.slice();
      if (rounded) addResidual(values, rounded, lost);
      const { scale, halves } = round(values, residual.subarray(to, to += values.length));
      scales[next++] = scale;
      bytes.set(new Uint8Array(halves.buffer), place);
      place += halves.byteLength;
    });
    return { bytes, residual: new Uint8Array(residual.buffer) };
  },
  unpack(bytes, form) {
    const { rounded, ...head } = readRounded(bytes, form);
    return { ...head, gradients: rounded.map((one) => one && widen(one)) };
  },
};

/** Each way's bytes. */
export const SHARE_CODECS: Readonly<Record<GradientCompression, ShareCodec>> = {
  none: uncompressed,
  float16,
};
