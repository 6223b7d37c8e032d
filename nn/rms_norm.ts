/**
 * Root mean square normalisation over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467).
 * @module
 */

import { rmsNorm, type Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

/**
 * x [..., C] -> [..., C]: x / sqrt(mean(x^2) + eps) times the weight.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Parameter, RMSNorm, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const norm = new RMSNorm(Parameter.from([1, 1]), 1e-6);
 * console.log(await norm.forward(Tensor.from([[3, 4]])).data()); // [0.849, 1.131]
 * ```
 */
export class RMSNorm extends Module {
  /** [C] */
  weight: Parameter;
  /** Added to the mean square. */
  readonly eps: number;
  /** Added to the weight: 1 in Gemma, whose weights start at 0. */
  readonly offset: number;

  /** Takes over the weight. */
  constructor(weight: Parameter, eps: number, offset = 0) {
    super();
    this.weight = weight;
    this.eps = eps;
    this.offset = offset;
  }

  /** Rows to root mean square 1, then scaled; plus `residual`, shaped as x. */
  forward(x: Tensor, residual: Tensor | null = null): Tensor {
    return rmsNorm(x, this.weight, { eps: this.eps, offset: this.offset, residual });
  }
}
