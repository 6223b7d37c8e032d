/**
 * Chat, the shelf of adapters, and files to take home.
 * @module
 */

/** Who answers; without it the adapter of `activate`. A mix over weights needs no `mix` call before. */
export type Speaker =
  | { readonly kind: "base" }
  | { readonly kind: "adapter"; readonly adapterId: string }
  /** While a training is paused: its adapter as it is now. Others than this and the base are "busy" then. */
  | { readonly kind: "training" }
  | { readonly kind: "mix"; readonly parts: readonly MixPart[] };

export interface MixPart {
  readonly adapterId: string;
  readonly weight: number;
}

export interface ChatOptions {
  readonly speaker?: Speaker;
  /**
   * How a model without chat template is spoken to: "text" puts the contents one after another and continues them;
   * "chat" takes turns, as it was taught if it learned questions and answers. Default: as the adapter that answers (for
   * the base: the active one) was taught, else "text". A model with a template always chats.
   */
  readonly form?: "text" | "chat";
  /** The whole conversation. */
  readonly messages: readonly { readonly role: "system" | "user" | "assistant"; readonly content: string }[];
  readonly maxNewTokens?: number;
  /** 0: always the likeliest token. Default 0.7, or the model's own; topK, topP and repetitionPenalty likewise. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
}

export interface ChatResult {
  readonly text: string;
  readonly promptTokens: number;
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly end: "stop" | "length" | "cancelled";
  /** Oldest messages that had no room in the context. */
  readonly forgottenMessages: number;
}

export interface AdapterInfo {
  readonly adapterId: string;
  readonly name: string;
  readonly method: string;
  readonly parameters: number;
  readonly bytes: number;
  /** Of the model it was made for. */
  readonly modelName: string;
  /** Whether it can be used with the open model, and if not, why. */
  readonly problem: string | null;
  readonly isActive: boolean;
  readonly createdAt: number;
  /** Where it comes from. */
  readonly origin: "trained" | "loaded" | "mixed";
  /** Such as `60 steps, loss 2.31`. */
  readonly note: string;
  /** Whether it learned texts, or answers: how a model without chat template is spoken to with it. */
  readonly form: "text" | "chat";
  readonly canMix: boolean;
  readonly canExportGguf: boolean;
}

export interface MixOptions {
  readonly name: string;
  readonly parts: readonly MixPart[];
  /** Default "cat", which is the exact weighted sum (its rank is the sum of the ranks); "svd" keeps the rank; "linear" has cross terms. */
  readonly combination?: "linear" | "cat" | "svd" | "ties" | "dare_linear" | "dare_ties";
}

export type ExportOptions =
  /** A .zip of adapter_config.json, adapter_model.safetensors, README.md. */
  | { readonly what: "peft"; readonly adapterId: string }
  /** One .gguf for llama.cpp's --lora. */
  | { readonly what: "gguf-adapter"; readonly adapterId: string }
  /** The model with the adapter in it. */
  | { readonly what: "merged-gguf"; readonly adapterId: string; readonly type: "f16" | "q8_0" }
  /** A .zip of config.json, model.safetensors, the tokenizer's files. */
  | {
    readonly what: "merged-safetensors";
    readonly adapterId: string;
    readonly type: "float32" | "float16" | "bfloat16";
  }
  /** README.md. */
  | { readonly what: "model-card"; readonly adapterId: string }
  /** train.ts, the same run for Deno; only of an adapter that was trained here. */
  | { readonly what: "script"; readonly adapterId: string };

export interface ExportedFile {
  /** The file's name to save it under. */
  readonly name: string;
  readonly mimeType: string;
  readonly bytes: number;
  /** Large files lie on disk, not in memory. */
  readonly blob: Blob;
}
