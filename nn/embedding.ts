/**
 * Rows of a table by id (`torch.nn.Embedding`).
 * @module
 */

import { embedding, type Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

/**
 * y [..., C] = weight[ids].
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Embedding, Parameter, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const words = new Embedding(Parameter.from([[1, 1], [2, 2]]));
 * console.log(await words.forward(Tensor.from(new Int32Array([1, 0]))).data()); // [2, 2, 1, 1]
 * ```
 */
export class Embedding extends Module {
  /** [V, C], float32, or another type when frozen. */
  weight: Parameter;

  /** Takes over the parameters. */
  constructor(weight: Parameter) {
    super();
    this.weight = weight;
  }

  /** ids int32 [...] -> [..., C]. */
  forward(ids: Tensor): Tensor {
    return embedding(ids, this.weight);
  }
}
