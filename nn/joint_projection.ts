/**
 * Projections of one input, run together in as few launches as it takes.
 * @module
 */

import { jointGatedLinear, jointLinear, type LinearLayer, type Tensor } from "../autograd/mod.ts";
import { type ActivationName, fusedActivation, gatedActivation } from "./activation.ts";
import type { ProjectionCall, ProjectionLike } from "./projection.ts";

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
