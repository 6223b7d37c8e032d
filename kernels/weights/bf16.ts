/**
 * bfloat16, the upper halves of f32, as most checkpoints are saved: two in a word, the first one in the low bits.
 * @module
 */
import { bf16Texts } from "./half.ts";
import type { WeightFormat } from "./weight_format.ts";

/** Packed bfloat16. */
export const bf16Format: WeightFormat<"bf16"> = {
  name: "bf16",
  block: 2,
  buffers: [{ suffix: "", elements: 2, bytes: 4, note: "two bfloat16 per word" }],
  get reading() {
    return bf16Texts().reading;
  },
  array: "Uint16Array",
  isBroken: (bits) => (bits & 0x7f80) === 0x7f80,
  file: "BF16",
  unpack: "bfloatToFloat",
  get pack() {
    return bf16Texts().pack;
  },
  rule: "an even last dimension is required, since two numbers share a word",
};
