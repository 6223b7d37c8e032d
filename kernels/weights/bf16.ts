/**
 * bfloat16, the upper halves of f32, as most checkpoints are saved: two in a word, the first one in the low bits.
 * @module
 */
import type { WeightFormat } from "./weight_format.ts";

/** Packed bfloat16. */
export const bf16Format: WeightFormat<"bf16"> = {
  name: "bf16",
  block: 2,
  buffers: [{ suffix: "", elements: 2, bytes: 4, note: "two bfloat16 per word" }],
  reading: {
    name: "bf16",
    types: (width) => [width === 4 ? "vec2u" : "u32"],
    body: (width, [b]) =>
      width === 4
        ? `let w = ${b}[i]; return bitcast<vec4f>(vec4u(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));`
        : `let w = ${b}[i >> 1u]; return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));`,
  },
  array: "Uint16Array",
  isBroken: (bits) => (bits & 0x7f80) === 0x7f80,
  file: "BF16",
  unpack: "bfloatToFloat",
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
  rule: "an even last dimension is required, since two numbers share a word",
};
