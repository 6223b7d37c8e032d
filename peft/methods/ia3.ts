/**
 * (IA)^3 (Liu et al. 2022, arXiv:2205.05638): learned factors of a layer's outputs, or of a feed-forward layer's inputs.
 *   output side: y = (x W + b) l      feed-forward side: y = (x l) W + b
 * Factors start at 1, so a fresh adapter changes nothing. Fields and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import { defaultFeedforward } from "../targets/default_targets.ts";
import { IA3Config } from "./ia3_config.ts";
import { makeIA3Adapter } from "./ia3_linear.ts";
import type { PeftMethod } from "./method.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/** (IA)^3, for the registry. */
export const ia3: PeftMethod<IA3Config> = {
  name: "ia3",
  resolve: ({ feedforwardModules, targetModules }, modelType) => {
    const names = defaultFeedforward(modelType);
    if (feedforwardModules !== null || !names) return {};
    return { feedforwardModules: targetModules === null ? names : [] };
  },
  configFromJSON: (json) => IA3Config.fromJSON(json),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeIA3Adapter),
};
