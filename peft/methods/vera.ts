/**
 * VeRA (Kopiczko et al. 2024, arXiv:2310.11454): two random matrices that all layers share, and two trained vectors a layer.
 *   y = x W + b + lambda_b ((drop(x) A^T lambda_d) B^T)   with A [r, in], B [out, r] frozen
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21; A and B are the numbers PyTorch
 * draws, so a file without them (`saveProjection: false`) loads.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import type { PeftMethod } from "./method.ts";
import { VeraConfig } from "./vera_config.ts";
import { makeVeraAdapter, VeraProjections } from "./vera_layer.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/** Why an adapter cannot stand beside others: all draw the same projections. */
function conflict(config: VeraConfig, others: readonly VeraConfig[]): string | null {
  const { projectionPrngKey: key, saveProjection } = config;
  const other = others.find((other) => other.projectionPrngKey !== key);
  if (other) {
    return `Vera PRNG initialisation key must be the same for all adapters. Got config.projection_prng_key=${key} but previous config had ${other.projectionPrngKey}.`;
  }
  return others.every((other) => other.saveProjection === saveProjection)
    ? null
    : "VeRA projection weights must be saved for all adapters or none, but got multiple different values: [False, True]";
}

/** VeRA, for the registry. */
export const vera: PeftMethod<VeraConfig> = {
  name: "vera",
  configFromJSON: (json) => VeraConfig.fromJSON(json),
  conflict,
  sharedPart: (config, targets, { device }) => new VeraProjections(config, targets, device),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeVeraAdapter),
  linear: makeVeraAdapter,
};
