/**
 * A number added to the diagonal of matrices: y = x + c I. Gradient: dx = dy.
 * @module
 */

import { addDiagonalKernel } from "../../kernels/square_matrices.ts";
import { showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";

/**
 * x [..., k, k] + c I.
 * @throws {TypeError} unless x is float32 and its last two sizes are equal
 */
export function addDiagonal(x: Tensor, c: number): Tensor {
  checkFloat("add to the diagonal of", x);
  const k = x.shape.at(-1);
  if (k === undefined || x.shape.at(-2) !== k) {
    throw new TypeError(
      `Cannot add to the diagonal of ${showShape(x.shape)}: square matrices [..., k, k] are required`,
    );
  }
  const y = empty(x.device, x.shape);
  x.device.dispatch(addDiagonalKernel, { x: x.view, y: y.view }, { size: x.size, k, c });
  return record("addDiagonal", { inputs: { x }, outputs: [y], backward: ({ dy }) => ({ x: dy }) });
}
