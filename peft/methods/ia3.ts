/**
 * (IA)^3 (Liu et al. 2022, arXiv:2205.05638): learned factors of a layer's outputs, or of a feed-forward layer's inputs.
 *   output side: y = (x W + b) l      feed-forward side: y = (x l) W + b
 * Factors start at 1, so a fresh adapter changes nothing. Fields and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { IA3Config } from "./ia3_config.ts";
import { Conv1D, Linear } from "../../nn/mod.ts";
import { IA3Layer } from "./ia3_layer.ts";
import type { PeftMethod } from "../method.ts";

/** (IA)^3, for the registry. */
export const ia3: PeftMethod<IA3Config> = {
  name: "ia3",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn", "mlp.c_proj"] : null,
  resolve: (config, modelType) =>
    config.feedforwardModules !== null || modelType !== "gpt2"
      ? {}
      : { feedforwardModules: config.targetModules === null ? ["mlp.c_proj"] : [] },
  configFromJSON: (json) => IA3Config.fromJSON(json),
  supports: (module) => module instanceof Conv1D || module instanceof Linear || module instanceof IA3Layer,
  wrap: (module, state) => new IA3Layer(module as Conv1D | Linear, state),
};
