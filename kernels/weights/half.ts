/**
 * How kernels read and write halves, f16 and bfloat16: a bundle loads it with the first weights of these types.
 * @module
 */

import type { WeightFormat } from "./weight_format.ts";

/** A number's half, rounded to nearest even, as the start of a function whose end is the caller's brace. */
export const TO_HALF = `fn toHalf(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  let signBit = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return signBit | 0x7e00u; }
  if (magnitude >= 0x477ff000u) { return signBit | 0x7c00u; }
  if (magnitude < 0x33000001u) { return signBit; }
  let exponent = magnitude >> 23u;
  if (exponent < 113u) { // below 2^-14: a subnormal half
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let shift = 126u - exponent;
    let kept = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    return signBit | (kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u)));
  }
  let rebased = magnitude - (112u << 23u);
  let rest = rebased & 0x1fffu;
  let kept = rebased >> 13u;
  return signBit | (kept + select(0u, 1u, rest > 0x1000u || (rest == 0x1000u && (kept & 1u) == 1u)));`;

/** The WGSL of a format. */
type Texts = Pick<WeightFormat, "reading" | "native" | "pack">;

const F16 = {
  reading: {
    name: "f16",
    types: (width) => [width === 4 ? "vec2u" : "u32"],
    body: (width, [b]) =>
      width === 4
        ? `let w = ${b}[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));`
        : `let w = unpack2x16float(${b}[i >> 1u]); return select(w.x, w.y, (i & 1u) == 1u);`,
  },
  native: {
    name: "f16native",
    feature: { wgsl: "f16", device: "shader-f16" },
    types: (width) => [width === 4 ? "vec4<f16>" : "f16"],
    body: (width, [b]) => `return ${width === 4 ? "vec4f" : "f32"}(${b}[i]);`,
  },
  pack: {
    kernel: "floatToHalf",
    // Rounds to nearest even, by integer arithmetic: pack2x16float's rounding is the driver's choice.
    text: `var second = 0.0;
  if (i + 1u < params.size) { second = x[i + 1u]; }
  y[block] = toHalf(x[i]) | (toHalf(second) << 16u);
}
${TO_HALF}`,
  },
} satisfies Texts;

const BF16 = {
  reading: {
    name: "bf16",
    types: (width) => [width === 4 ? "vec2u" : "u32"],
    body: (width, [b]) =>
      width === 4
        ? `let w = ${b}[i]; return bitcast<vec4f>(vec4u(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));`
        : `let w = ${b}[i >> 1u]; return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));`,
  },
  pack: {
    kernel: "floatToBfloat",
    text: `var second = 0.0;
  if (i + 1u < params.size) { second = x[i + 1u]; }
  y[block] = toBfloat(x[i]) | (toBfloat(second) << 16u);
}
fn toBfloat(v: f32) -> u32 { // to nearest even
  let bits = bitcast<u32>(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;`,
  },
} satisfies Texts;

/** Of f16. */
export function f16Texts(): Required<Texts> {
  return F16;
}

/** Of bfloat16. */
export function bf16Texts(): Texts & Pick<Required<Texts>, "pack"> {
  return BF16;
}
