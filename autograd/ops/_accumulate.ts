/**
 * Sums of gradients, outside the tape.
 * @module
 */

import { addInPlaceKernel, binaryKernels } from "../../kernels/pointwise.ts";
import { empty, type Tensor } from "../tensor.ts";

/** a += b; same shape. */
export function addInPlace(a: Tensor, b: Tensor): void {
  a.device.dispatch(addInPlaceKernel, { a: a.view, b: b.view }, { size: a.size });
}

/** a + b in memory of its own; same shape. */
export function sumOfTwo(a: Tensor, b: Tensor): Tensor {
  const y = empty(a.device, a.shape);
  const flat = { d1: 1, d2: 1, d3: a.size, a0: 0, a1: 0, a2: 0, a3: 1, b0: 0, b1: 0, b2: 0, b3: 1 };
  a.device.dispatch(binaryKernels.add, { a: a.view, b: b.view, y: y.view }, { size: a.size, ...flat });
  return y;
}
