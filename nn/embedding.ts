/**
 * Rows of a table by id (`torch.nn.Embedding`).
 * @module
 */

import { embedding, type Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

/** y [..., C] = weight[ids]. */
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
