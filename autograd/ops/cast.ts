/**
 * Conversion of element types. float16 is packed storage for frozen weights. The gradient of float16 -> float32 does
 * not exist (float16 tensors do not train); float32 -> float16 records nothing.
 * @module
 */

import { floatToHalf, floatToInt, halfToFloat, intToFloat } from "../../kernels/cast.ts";
import type { DType } from "../dtype.ts";
import { showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";

const conversions = new Map([
  ["float32 to float16", floatToHalf],
  ["float16 to float32", halfToFloat],
  ["int32 to float32", intToFloat],
  ["float32 to int32", floatToInt],
]);

/**
 * The tensor in another element type, outside the gradient graph; itself (a second handle) if it has that type.
 * @throws {TypeError} for a pair that has no conversion, or a float16 result whose last dimension is odd
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x.alias();
  const kernel = conversions.get(`${x.dtype} to ${dtype}`);
  if (!kernel) throw new TypeError(`Cannot cast ${x.dtype} to ${dtype}: there is no such conversion`);
  if (dtype === "float16" && (x.shape.at(-1) ?? 1) % 2 !== 0) {
    throw new TypeError(
      `Cannot cast ${
        showShape(x.shape)
      } to float16: an even last dimension is required, since halves are packed in pairs`,
    );
  }
  const y = empty(x.device, x.shape, dtype);
  x.device.dispatch(kernel, { x: x.view, y: y.view }, { size: x.size });
  return y;
}
