/**
 * LoRA (Hu et al. 2021, arXiv:2106.09685): y = x W + b + s (drop(x) A^T) B^T with A [r, in] and B [out, r];
 * s = alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023, arXiv:2312.03732).
 * Initial values, names and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { Conv1D, Embedding, Linear, type Module } from "../../nn/mod.ts";
import { LoraConfig } from "./lora_config.ts";
import { LoraEmbedding } from "./lora_embedding.ts";
import { makeLoraLinear } from "./lora_linear.ts";
import { LoraLayer } from "./lora_layer.ts";
import type { AdapterState } from "../adapter_state.ts";
import type { PeftMethod, TunerLayer } from "../method.ts";

/** What can carry LoRA, and what takes its place. */
const WRAPPERS: readonly [
  // deno-lint-ignore no-explicit-any -- any constructor: it is only asked what is its instance
  base: new (...args: any[]) => Module,
  wrap: (module: Module, state: AdapterState) => TunerLayer,
][] = [
  [Conv1D, (module, state) => new LoraLayer(module as Conv1D, state)],
  [Linear, (module, state) => new LoraLayer(module as Linear, state)],
  [Embedding, (module, state) => new LoraEmbedding(module as Embedding, state)],
];

const wrapperOf = (module: Module) => WRAPPERS.find(([base]) => module instanceof base)?.[1];

/** LoRA, for the registry. */
export const lora: PeftMethod<LoraConfig> = {
  name: "lora",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn"] : null,
  configFromJSON: (json) => LoraConfig.fromJSON(json),
  supports: (module) =>
    wrapperOf(module) !== undefined || module instanceof LoraLayer || module instanceof LoraEmbedding,
  wrap: (module, state) => wrapperOf(module)!(module, state),
  linear: makeLoraLinear,
};
