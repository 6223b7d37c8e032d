/**
 * The linear layer whose weight is stored [out, in] (`torch.nn.Linear`).
 * @module
 */

import { type Gate, linear, type Tensor, type WeightLayout } from "../autograd/mod.ts";
import type { Parameter } from "./parameter.ts";
import { Projection, type ProjectionOptions } from "./projection.ts";

/** y [..., out] = x [..., in] weight^T + bias. */
export class Linear extends Projection {
  /** [out, in], float32, or another type when frozen. */
  weight: Parameter;
  /** [out], or null. */
  bias: Parameter | null;

  /** Takes over the parameters. */
  constructor(weight: Parameter, bias: Parameter | null = null) {
    super();
    this.weight = weight;
    this.bias = bias;
  }

  /** How `weight` is stored. */
  readonly layout: WeightLayout = "linear";

  /** Size of the last axis of the input. */
  get inFeatures(): number {
    return this.weight.shape[1];
  }

  /** Size of the last axis of the output. */
  get outFeatures(): number {
    return this.weight.shape[0];
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    return linear(x, this.weight, this.bias, { layout: "linear", ...options });
  }

  /** act(gate) (x W + b) in the product's kernel. */
  override forwardGated(x: Tensor, gate: Gate): Tensor {
    return linear(x, this.weight, this.bias, { layout: "linear", gate });
  }

  /** The weight, if there is no bias. */
  override headWeight(): Tensor | null {
    return this.bias ? null : this.weight;
  }
}
