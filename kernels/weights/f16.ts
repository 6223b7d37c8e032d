/**
 * Half precision, for frozen weights: two halves in a word, the first one in the low bits. Kernels unpack words, for
 * which no device feature is needed; or they read WGSL's own f16 where there is "shader-f16". The numbers are the same.
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

/** Packed f16. */
export const f16Format: WeightFormat<"f16"> = {
  name: "f16",
  block: 2,
  buffers: [{ suffix: "", elements: 2, bytes: 4, note: "two halves per word" }],
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
  array: "Uint16Array",
  isBroken: (bits) => (bits & 0x7c00) === 0x7c00,
  file: "F16",
  unpack: "halfToFloat",
  pack: {
    kernel: "floatToHalf",
    // Rounds to nearest even, by integer arithmetic: pack2x16float's rounding is the driver's choice.
    text: `var second = 0.0;
  if (i + 1u < params.size) { second = x[i + 1u]; }
  y[block] = toHalf(x[i]) | (toHalf(second) << 16u);
}
${TO_HALF}`,
  },
  rule: "an even last dimension is required, since halves are packed in pairs",
};
