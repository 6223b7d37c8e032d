/**
 * GPT-2's linear layer, whose weight is stored [in, out] (`transformers.pytorch_utils.Conv1D`).
 * @module
 */

import { linear, type Tensor, type WeightLayout } from "../autograd/mod.ts";
import type { Parameter } from "./parameter.ts";
import { Projection, type ProjectionCall, type ProjectionOptions } from "./projection.ts";

/**
 * y [..., out] = x [..., in] weight + bias.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Conv1D, Parameter, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const layer = new Conv1D(Parameter.from([[1, 2], [3, 4]]), Parameter.from([10, 20])); // weight [in, out]
 * console.log(await layer.forward(Tensor.from([[1, 1]])).data()); // [14, 26]
 * ```
 */
export class Conv1D extends Projection {
  /** Stored by `layout`, float32, or another type when frozen. */
  weight: Parameter;
  /** [out] */
  bias: Parameter;

  /** Takes over the parameters. */
  constructor(weight: Parameter, bias: Parameter) {
    super();
    this.weight = weight;
    this.bias = bias;
  }

  /** How `weight` is stored: "linear", [out, in], where it was loaded in a format of few bits, as files of such have it. */
  layout: WeightLayout = "conv1d";

  /** Size of the last axis of the input. */
  get inFeatures(): number {
    return this.weight.shape[this.layout === "conv1d" ? 0 : 1];
  }

  /** Size of the last axis of the output. */
  get outFeatures(): number {
    return this.weight.shape[this.layout === "conv1d" ? 1 : 0];
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    return linear(x, this.weight, this.bias, { layout: this.layout, ...options });
  }

  /** @internal The product, and with a gate what multiplies it in the same kernel. */
  override prepare(x: Tensor): ProjectionCall {
    const { weight, bias, layout } = this;
    return {
      layer: { weight, bias, layout, lora: null },
      run: (gate) => linear(x, weight, bias, { layout, gate }),
    };
  }
}
