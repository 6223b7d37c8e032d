/**
 * `@peft/webgpu/tokenizer`: tokenizers of models and chat templates, without a model or a device.
 * @module
 */

export { AutoTokenizer, type TokenizerOptions } from "../model/tokenizer/auto.ts";
export { ChatTemplateError } from "../model/tokenizer/chat_template.ts";
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
} from "../model/tokenizer/tokenizer.ts";
