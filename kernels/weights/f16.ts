/**
 * Half precision, for frozen weights: two halves in a word, the first one in the low bits. Kernels unpack words, for
 * which no device feature is needed; or they read WGSL's own f16 where there is "shader-f16". The numbers are the same.
 * @module
 */
import { f16Texts } from "./half.ts";
import type { WeightFormat } from "./weight_format.ts";

/** Packed f16. */
export const f16Format: WeightFormat<"f16"> = {
  name: "f16",
  block: 2,
  buffers: [{ suffix: "", elements: 2, bytes: 4, note: "two halves per word" }],
  get reading() {
    return f16Texts().reading;
  },
  get native() {
    return f16Texts().native;
  },
  array: "Uint16Array",
  isBroken: (bits) => (bits & 0x7c00) === 0x7c00,
  file: "F16",
  unpack: "halfToFloat",
  get pack() {
    return f16Texts().pack;
  },
  rule: "an even last dimension is required, since halves are packed in pairs",
};
