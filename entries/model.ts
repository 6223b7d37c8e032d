/**
 * `@peft/webgpu/model`: language models and tokenizers with all their types.
 * @module
 */

export * from "../model/mod.ts";
