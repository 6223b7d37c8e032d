/**
 * GPT-2.
 * @module
 */

export { GPT2Attention } from "./attention.ts";
export { Activation, GPT2Block, GPT2MLP } from "./block.ts";
export { GPT2Config, type GPT2ConfigFields } from "./config.ts";
export { GPT2Model } from "./decoder.ts";
export { type GPT2Inputs, GPT2LMHeadModel, type GPT2Options } from "./model.ts";
