/**
 * GPT-2: module tree, checkpoints, generation, tokenizers.
 * @module
 */

export { type AutoModel, AutoModelForCausalLM, type FromPretrainedOptions } from "./auto.ts";
export type { RunStep, Streamer } from "./generation/decode.ts";
export type { GenerateInputs } from "./generation/prompts.ts";
export type { GenerateOptions } from "./generation/generation.ts";
export { TextStreamer, type TextStreamerOptions } from "./generation/text_streamer.ts";
export {
  type CausalLMInputs,
  GPT2LMHeadModel,
  type GPT2Options,
  type LoadOptions,
  type LoadProgress,
} from "./causal_lm.ts";
export { type GPT2Inputs, GPT2Model } from "./decoder.ts";
export { GPT2Config, type GPT2ConfigFields } from "./gpt2/config.ts";
export type { WeightDType } from "./checkpoint.ts";
export type { AttentionMask, TokenIds } from "./inputs.ts";
export { KVCache } from "./generation/kv_cache.ts";
export { CausalLMOutput } from "./output.ts";
export type { SamplingOptions } from "./generation/sampling.ts";
export {
  AutoTokenizer,
  type DecodeOptions,
  type DecodeStream,
  type EncodeOptions,
  type Encoding,
  type PaddingSide,
  type Tokenizer,
} from "./tokenizer/tokenizer.ts";
export { Activation, GPT2Attention, GPT2Block, GPT2MLP } from "./gpt2/block.ts";
