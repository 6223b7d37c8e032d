/**
 * Llama, Mistral, Qwen2, Qwen3, Gemma 3 and SmolLM3.
 * @module
 */

export { LlamaAttention } from "./attention.ts";
export { LlamaBlock, LlamaMLP } from "./block.ts";
export { type LayerPlan, LlamaConfig, type LlamaConfigFields, type RopeKinds } from "./config.ts";
export { LlamaModel } from "./decoder.ts";
export { LlamaForCausalLM } from "./model.ts";
export type { RopeParameters } from "./rope.ts";
export type { LlamaType, Variant } from "./variants.ts";
