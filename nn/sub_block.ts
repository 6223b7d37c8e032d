/**
 * The interface of a part of a transformer block that adds to the residual stream: attention or MLP.
 * Wrappers (bottleneck adapters) replace it, so they share this interface.
 * @module
 */

import type { Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";

/** A part x [B, T, C] -> y [B, T, C] of a block, with what is added to it. */
export abstract class SubBlock extends Module {
  /** Size of the last axis, C. */
  abstract readonly hiddenSize: number;
  /** y = f(x) + residual, or f(x) where `residual` is null; `rest` is what the part itself needs, such as masks. */
  abstract forward(x: Tensor, residual: Tensor | null, ...rest: unknown[]): Tensor;
}
