/**
 * The interface of a layer that maps features to features. Wrappers (LoRA, IA3) replace such layers, so they share it.
 * @module
 */

import {
  type Gate,
  jointGatedLinear,
  jointLinear,
  type LinearLayer,
  type LinearOptions,
  type Tensor,
} from "../autograd/mod.ts";
import { type ActivationName, fusedActivation, gatedActivation } from "./activation.ts";
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

/** The object on the prototype chain that a method comes from. */
function ownerOf(object: object | null, method: string): object | null {
  let owner = object;
  while (owner !== null && !Object.hasOwn(owner, method)) owner = Object.getPrototypeOf(owner);
  return owner;
}

/** A call of a layer; of one whose `forward` was replaced (in a subclass, on the object), that `forward`. */
function prepared(projection: ProjectionLike, x: Tensor): ProjectionCall | null {
  return ownerOf(projection, "prepare") === ownerOf(projection, "forward")
    ? projection.prepare?.(x) ?? null
    : null;
}

/**
 * projection(x) for each projection, such as queries, keys and values: in as few launches as the device allows. Neighbours
 * that are linear layers with one adapter at most share launches; the others run one after the other.
 */
export function forwardJoint(x: Tensor, projections: readonly ProjectionLike[]): Tensor[] {
  const calls = projections.map((projection) => prepared(projection, x));
  const results: Tensor[] = [];
  let layers: LinearLayer[] = [];
  const runLayers = () => {
    results.push(...jointLinear(x, layers));
    layers = [];
  };
  calls.forEach((call, i) => {
    if (call?.layer) return layers.push(call.layer);
    runLayers();
    results.push(call ? call.run() : projections[i].forward(x));
  });
  runLayers();
  return results;
}

/** act(gate(x)) up(x), the middle of a gated MLP (Shazeer 2020, arXiv:2002.05202), in as few launches as it takes. */
export function gatedForward(
  gate: ProjectionLike,
  up: ProjectionLike,
  x: Tensor,
  name: ActivationName,
): Tensor {
  const activation = fusedActivation(name);
  const [gateCall, upCall] = [prepared(gate, x), prepared(up, x)];
  if (activation && gateCall?.layer && upCall?.layer) {
    return jointGatedLinear(x, gateCall.layer, upCall.layer, activation);
  }
  const by = gateCall ? gateCall.run() : gate.forward(x);
  if (activation && upCall) return upCall.run({ activation, by });
  return gatedActivation(name, by, upCall ? upCall.run() : up.forward(x));
}
