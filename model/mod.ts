/**
 * Language models: module trees, checkpoints, generation, tokenizers.
 * @module
 */

export type { DefaultModel } from "./architectures.ts";
export { type AutoModel, AutoModelForCausalLM, type FromPretrainedOptions } from "./auto.ts";
export type { Streamer } from "./generation/decode.ts";
export type { GenerateInputs } from "./generation/prompts.ts";
export type { GenerateOptions } from "./generation/generation.ts";
export type { GenerationConfig } from "./generation/generation_config.ts";
export { TextStreamer, type TextStreamerOptions } from "./generation/text_streamer.ts";
export { CausalLM, type CausalLMOptions, type PromptFacts } from "./causal_lm.ts";
export type { CapturableBatch } from "./labelled_forward.ts";
export type { SaveModelOptions } from "./save_model.ts";
export type { LoadOptions, LoadProgress } from "./checkpoint.ts";
export type { Quantization, StorageOptions, WeightDType } from "./storage.ts";
export type { AttentionState } from "./attention_state.ts";
export { Decoder, type DecoderBlock } from "./decoder.ts";
export type { ModelConfig, ModelFacts } from "./facts.ts";
export type { AttentionMask, CausalLMInputs, DecoderInputs, TokenIds } from "./inputs.ts";
export { KVCache } from "./generation/kv_cache.ts";
export {
  BatchedRequest,
  type BatchedToken,
  type BatchRequest,
  type BindRows,
  type BoundRows,
  type EndReason,
} from "./generation/batched_request.ts";
export { ContinuousBatch, type ContinuousBatchOptions } from "./generation/continuous_batch.ts";
export type { TokenLogProb, TokenLogProbs } from "./generation/token_log_probs.ts";
export { CausalLMOutput } from "./output.ts";
export type { SamplingOptions } from "./generation/sampling.ts";
export { exportGguf, type ExportGgufOptions, type GgufOutput } from "./gguf_export.ts";
export { AutoTokenizer, type TokenizerOptions } from "./tokenizer/auto.ts";
export { ChatTemplateError } from "./tokenizer/chat_template.ts";
export type {
  ChatEncoding,
  ChatMessage,
  ChatOptions,
  DecodeOptions,
  DecodeStream,
  EncodeOptions,
  Encoding,
  PaddingSide,
  Tokenizer,
} from "./tokenizer/tokenizer.ts";
export * from "./gpt2/mod.ts";
export * from "./llama/mod.ts";
