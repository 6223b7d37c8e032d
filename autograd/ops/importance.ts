/**
 * AdaLoRA's importance of every number of a parameter, smoothed over steps (Zhang et al. 2023, arXiv:2303.10512):
 *   ipt = |p g|,   s = beta1 s + (1 - beta1) ipt,   u = beta2 u + (1 - beta2) |ipt - s|
 * Outside the gradient graph.
 * @module
 */

import { importanceKernel } from "../../kernels/importance.ts";
import { sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { flatWindows } from "../windows.ts";
import { checkFloat } from "./_checks.ts";

/** What is smoothed of one parameter, same shape as it. */
export interface Importance {
  /** s */
  readonly sensitivity: Tensor;
  /** u */
  readonly uncertainty: Tensor;
}

/**
 * Updates the importance of `p` in place.
 * @param grad the gradient of p, same shape
 * @throws {TypeError} unless all are float32 of one shape
 */
export function updateImportance(
  p: Tensor,
  grad: Tensor,
  { sensitivity, uncertainty }: Importance,
  beta1: number,
  beta2: number,
): void {
  for (const tensor of [p, grad, sensitivity, uncertainty]) {
    checkFloat("take the importance of", tensor);
    if (!sameShape(tensor.shape, p.shape)) {
      throw new TypeError(
        `Cannot take the importance of ${
          showShape(p.shape)
        }: tensors of the same shape are required, received ${showShape(tensor.shape)}`,
      );
    }
  }
  for (const { size, views: [a, g, s, u] } of flatWindows(p, grad, sensitivity, uncertainty)) {
    p.device.dispatch(importanceKernel, { p: a, g, s, u }, { size, beta1, beta2 });
  }
}
