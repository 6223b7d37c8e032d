/**
 * Weights as they are computed with: one f32 per word.
 * @module
 */
import type { WeightFormat } from "./weight_format.ts";

/** f32. */
export const f32Format: WeightFormat<"f32"> = {
  name: "f32",
  block: 1,
  buffers: [{ suffix: "", elements: 1, bytes: 4, note: "" }],
  reading: {
    name: "f32",
    types: (width) => [width === 4 ? "vec4f" : "f32"],
    body: (_width, [b]) => `return ${b}[i];`,
  },
  array: "Float32Array",
  isBroken: (value) => !Number.isFinite(value),
  file: "F32",
  rule: "",
};
