/**
 * The interface of a layer that maps features to features. Wrappers (LoRA, IA3) replace such layers, so they share it.
 * @module
 */

import type { LinearOptions, Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";

/** Work that a projection does in the same kernel where it can. */
export type ProjectionOptions = Pick<LinearOptions, "activation" | "residual" | "isRead">;

/** A layer x [..., in] -> y [..., out]. */
export abstract class Projection extends Module {
  /** Size of the last axis of the input. */
  abstract readonly inFeatures: number;
  /** Size of the last axis of the output. */
  abstract readonly outFeatures: number;
  /** y = activation(x W + b) + residual; both options default to nothing. */
  abstract forward(x: Tensor, options?: ProjectionOptions): Tensor;

  /**
   * The weight [out, in] of a layer that computes x W^T and nothing else, for ops that fuse with a head; null
   * otherwise. Part of the gradient graph; the caller's scope frees it where it was made for the call.
   */
  headWeight(): Tensor | null {
    return null;
  }
}
