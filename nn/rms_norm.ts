/**
 * Root mean square normalisation over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467).
 * @module
 */

import { add, divide, full, mean, multiply, sqrt, square, type Tensor, tidy } from "../autograd/mod.ts";
import { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

/** x [..., C] -> [..., C]: x / sqrt(mean(x^2) + eps) times the weight. */
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

  /** Rows to root mean square 1, then scaled. */
  forward(x: Tensor): Tensor {
    return tidy(() => {
      const { device } = x;
      const meanSquare = mean(square(x), { axis: -1, keepDims: true });
      const root = sqrt(add(meanSquare, full(device, [1], this.eps)));
      const weight = this.offset === 0 ? this.weight : add(this.weight, full(device, [1], this.offset));
      return multiply(divide(x, root), weight);
    });
  }
}
