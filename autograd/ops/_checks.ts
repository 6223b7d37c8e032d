/**
 * What many ops require of their operands.
 * @module
 */
import { showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** @throws {TypeError} unless `x` is float32 */
export function checkFloat(action: string, x: Tensor): void {
  if (x.dtype !== "float32") {
    throw new TypeError(
      `Cannot ${action} a ${x.dtype} tensor of shape ${showShape(x.shape)}: float32 is required`,
    );
  }
}
