/**
 * What a layer that maps features to features looks like from outside. Wrappers (LoRA, IA3) take the place of such a
 * layer, so they have the same face.
 * @module
 */

import type { LinearOptions, Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";

/** Work that a projection does in the same kernel where it can. */
export type ProjectionOptions = Pick<LinearOptions, "activation" | "residual">;

/** A layer x [..., in] -> y [..., out]. */
export abstract class Projection extends Module {
  /** Size of the last axis of the input. */
  abstract readonly inFeatures: number;
  /** Size of the last axis of the output. */
  abstract readonly outFeatures: number;
  /** y = activation(x W + b) + residual; both options default to nothing. */
  abstract forward(x: Tensor, options?: ProjectionOptions): Tensor;

  /**
   * The weight [out, in] of a layer that computes x W^T and nothing else, for ops that fuse with a head; null otherwise.
   * Part of the gradient graph; the caller's scope frees it where it was made for the call.
   */
  headWeight(): Tensor | null {
    return null;
  }
}
