/**
 * The linear layer whose weight is stored [out, in] (`torch.nn.Linear`).
 * @module
 */

import { linear, type Tensor, type WeightLayout } from "../autograd/mod.ts";
import type { Parameter } from "./parameter.ts";
import { Projection, type ProjectionCall, type ProjectionOptions } from "./projection.ts";

/**
 * y [..., out] = x [..., in] weight^T + bias.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Linear, Parameter, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const layer = new Linear(Parameter.from([[1, 2], [3, 4]]), Parameter.from([10, 20])); // weight [out, in]
 * console.log(await layer.forward(Tensor.from([[1, 1]])).data()); // [13, 27]
 * ```
 */
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

  /** @internal The product, and with a gate what multiplies it in the same kernel. */
  override prepare(x: Tensor): ProjectionCall {
    const { weight, bias, layout } = this;
    return {
      layer: { weight, bias, layout, lora: null },
      run: (gate) => linear(x, weight, bias, { layout, gate }),
    };
  }

  /** The weight, if there is no bias. */
  override headWeight(): Tensor | null {
    return this.bias ? null : this.weight;
  }
}
