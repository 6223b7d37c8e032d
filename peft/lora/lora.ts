/**
 * LoRA (Hu et al. 2021, arXiv:2106.09685): y = x W + b + s (drop(x) A^T) B^T with A [r, in] and B [out, r];
 * s = alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023, arXiv:2312.03732).
 * Initial values, names and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { type Conv1D, Embedding, type Linear } from "../../nn/mod.ts";
import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import type { PeftMethod } from "../methods/method.ts";
import { LoraConfig } from "./lora_config.ts";
import { LoraEmbedding } from "./lora_embedding.ts";
import { makeLoraBesideOthers, makeLoraLinear } from "./lora_linear.ts";

/** LoRA, for the registry. */
export const lora: PeftMethod<LoraConfig> = {
  name: "lora",
  peftClasses: { model: "LoraModel" },
  configFromJSON: (json) => LoraConfig.fromJSON(json),
  supports: (module) =>
    isLinearTarget(module) || module instanceof Embedding || module instanceof LoraEmbedding,
  wrap: (module, state) =>
    module instanceof Embedding
      ? new LoraEmbedding(module, state)
      : new AdaptedLinear(module as Conv1D | Linear, state, makeLoraLinear),
  linear: makeLoraBesideOthers,
};
