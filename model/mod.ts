/**
 * GPT-2: module tree, checkpoints, generation, tokenizers.
 * @module
 */

export { type AutoModel, AutoModelForCausalLM, type FromPretrainedOptions } from "./auto.ts";
export type { RunStep, Streamer } from "./decode.ts";
export type { GenerateInputs } from "./generate_inputs.ts";
export type { GenerateOptions } from "./generation.ts";
export { TextStreamer, type TextStreamerOptions } from "./text_streamer.ts";
export {
  type CausalLMInputs,
  GPT2LMHeadModel,
  type GPT2Options,
  type LoadOptions,
  type LoadProgress,
} from "./gpt2.ts";
export { type GPT2Inputs, GPT2Model } from "./gpt2_model.ts";
export { GPT2Config, type GPT2ConfigFields } from "./gpt2_config.ts";
export type { WeightDType } from "./gpt2_checkpoint.ts";
export type { AttentionMask, TokenIds } from "./inputs.ts";
export { KVCache } from "./kv_cache.ts";
export { CausalLMOutput } from "./output.ts";
export type { SamplingOptions } from "./sampling.ts";
export {
  AutoTokenizer,
  type DecodeOptions,
  type DecodeStream,
  type EncodeOptions,
  type Encoding,
  type PaddingSide,
  type Tokenizer,
} from "./tokenizer.ts";
export { Activation, GPT2Attention, GPT2Block, GPT2MLP } from "./gpt2_block.ts";
