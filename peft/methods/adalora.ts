/**
 * AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): LoRA in the form of a singular value decomposition, whose rank is
 * spread over the layers by importance while it trains.
 *   y = x W + b + s (drop(x) (A E)^T) B^T   with A [r, in], E [r, 1], B [out, r], s = alpha / (init_r + 1e-5)
 *   loss += orth_reg_weight mean over all A and B of |A A^T - I| and |B^T B - I| (Frobenius)
 * `peftModel.updateAndAllocate(step)` after `optimizer.step()` and before `zeroGrad()` sets the least important E to 0
 * by the budget of the step. Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import { AdaLoraConfig } from "./adalora_config.ts";
import { makeAdaLoraAdapter } from "./adalora_layer.ts";
import type { PeftMethod } from "./method.ts";
import { RankAllocator } from "./rank_allocator.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/** AdaLoRA, for the registry. */
export const adalora: PeftMethod<AdaLoraConfig> = {
  name: "adalora",
  configFromJSON: (json) => AdaLoraConfig.fromJSON(json),
  conflict: (config, others) =>
    config.inferenceMode || others.every((other) => other.inferenceMode)
      ? null
      : "AdaLoraModel supports only 1 trainable adapter. When using multiple adapters, set inference_mode to True for all adapters except the one you want to train.",
  sharedPart: (config) => new RankAllocator(config),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeAdaLoraAdapter),
  linear: makeAdaLoraAdapter,
};
