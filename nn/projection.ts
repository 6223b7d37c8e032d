/**
 * The interface of a layer that maps features to features. Wrappers (LoRA, IA3) replace such layers, so they share it.
 * @module
 */

import type { Gate, LinearLayer, LinearOptions, Tensor } from "../autograd/mod.ts";
import { Module } from "./module.ts";

/**
 * Work that a projection does in the same kernel where it can.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Linear, Parameter, type ProjectionOptions, Tensor } from "@peft/webgpu/tensor";
 *
 * const x = Tensor.from([[1, 2]], { device: await initDevice() });
 * const options: ProjectionOptions = { activation: "silu", residual: x };
 * console.log(await new Linear(Parameter.from([[0, 0], [5, 5]])).forward(x, options).data()); // [1, 17]
 * ```
 */
export type ProjectionOptions = Pick<LinearOptions, "activation" | "residual" | "isRead">;

/** A call of a projection that is ready to be run: alone, or with others of the same input. */
export interface ProjectionCall {
  /** What it computes, where that is a linear layer with one adapter at most; null where it is more. */
  readonly layer: LinearLayer | null;
  /** Computes it, as `forward` does; with a gate act(gate) times it. */
  run(gate?: Gate): Tensor;
}

/**
 * A layer x [..., in] -> y [..., out].
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { Projection } from "@peft/webgpu/tensor";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof Projection) console.log(path, module.inFeatures);
 * ```
 */
export abstract class Projection extends Module {
  /** Size of the last axis of the input. */
  abstract readonly inFeatures: number;
  /** Size of the last axis of the output. */
  abstract readonly outFeatures: number;
  /** y = activation(x W + b) + residual; both options default to nothing. */
  abstract forward(x: Tensor, options?: ProjectionOptions): Tensor;

  /** @internal The call `forward(x)`, for `forwardJoint` and `gatedForward`; what it draws at random is drawn here. */
  prepare?(x: Tensor): ProjectionCall;

  /**
   * The weight [out, in] of a layer that computes x W^T and nothing else, for ops that fuse with a head; null
   * otherwise. Part of the gradient graph; the caller's scope frees it where it was made for the call.
   */
  headWeight(): Tensor | null {
    return null;
  }
}

/** A layer x [..., in] -> [..., out]: a projection, or what stands in its place. */
export type ProjectionLike = Pick<Projection, "forward" | "prepare">;
