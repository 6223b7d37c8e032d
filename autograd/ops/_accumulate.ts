/**
 * Sums of gradients, outside the tape. Gradients may be larger than one binding.
 * @module
 */

import { addInPlaceKernel, binaryKernels } from "../../kernels/pointwise.ts";
import { empty, type Tensor } from "../tensor.ts";
import { flatWindows } from "../windows.ts";

/** a += b; same shape. */
export function addInPlace(a: Tensor, b: Tensor): void {
  for (const { size, views: [p, q] } of flatWindows(a, b)) {
    a.device.dispatch(addInPlaceKernel, { a: p, b: q }, { size });
  }
}

/** a + b in memory of its own; same shape. */
export function sumOfTwo(a: Tensor, b: Tensor): Tensor {
  const y = empty(a.device, a.shape);
  for (const { size, views: [p, q, r] } of flatWindows(a, b, y)) {
    const flat = { d1: 1, d2: 1, d3: size, a0: 0, a1: 0, a2: 0, a3: 1, b0: 0, b1: 0, b2: 0, b3: 1 };
    a.device.dispatch(binaryKernels.add, { a: p, b: q, y: r }, { size, ...flat });
  }
  return y;
}

/** x times the one value of `factor`, in memory of its own. */
export function timesScalar(x: Tensor, factor: Tensor): Tensor {
  const y = empty(x.device, x.shape);
  for (const { size, views: [p, r] } of flatWindows(x, y)) {
    const flat = { d1: 1, d2: 1, d3: size, a0: 0, a1: 0, a2: 0, a3: 1, b0: 0, b1: 0, b2: 0, b3: 0 };
    x.device.dispatch(binaryKernels.multiply, { a: p, b: factor.view, y: r }, { size, ...flat });
  }
  return y;
}
