/**
 * The interface of a layer that maps features to features. Wrappers (LoRA, IA3) replace such layers, so they share it.
 * @module
 */

import type { Gate, LinearOptions, Tensor } from "../autograd/mod.ts";
import { type ActivationName, fusedActivation, gatedActivation } from "./activation.ts";
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
   * act(gate) (x W + b), in one kernel where the layer can: how `gatedForward` runs it.
   * @param gate its operand is shaped as the result
   */
  forwardGated?(x: Tensor, gate: Gate): Tensor;

  /**
   * The weight [out, in] of a layer that computes x W^T and nothing else, for ops that fuse with a head; null
   * otherwise. Part of the gradient graph; the caller's scope frees it where it was made for the call.
   */
  headWeight(): Tensor | null {
    return null;
  }
}

/** A layer x [..., in] -> [..., out]: a projection, or what stands in its place. */
export type ProjectionLike = Pick<Projection, "forward" | "forwardGated">;

/** act(gate) projection(x), the middle of a gated MLP (Shazeer 2020, arXiv:2002.05202); gate [..., out]. */
export function gatedForward(
  projection: ProjectionLike,
  x: Tensor,
  name: ActivationName,
  gate: Tensor,
): Tensor {
  const activation = fusedActivation(name);
  const fused = activation && projection.forwardGated?.(x, { activation, by: gate });
  return fused || gatedActivation(name, gate, projection.forward(x));
}
