/**
 * Layer normalisation over the last axis (`torch.nn.LayerNorm`).
 * @module
 */

import { layerNorm, type Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

/**
 * x [..., C] -> [..., C].
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LayerNorm, Parameter, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const norm = new LayerNorm(Parameter.from([1, 1]), Parameter.from([0, 0]));
 * console.log(await norm.forward(Tensor.from([[1, 3]])).data()); // [-1, 1], nearly
 * ```
 */
export class LayerNorm extends Module {
  /** [C] */
  weight: Parameter;
  /** [C] */
  bias: Parameter;
  /** Added to the variance. */
  readonly eps: number;

  /** Takes over the parameters. */
  constructor(weight: Parameter, bias: Parameter, eps = 1e-5) {
    super();
    this.weight = weight;
    this.bias = bias;
    this.eps = eps;
  }

  /** Rows to mean 0 and variance 1, then scaled and shifted. */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps });
  }
}
