/**
 * GPT-2 in llama.cpp's GGUF files: linear weights are [out, in] there, where Hugging Face's Conv1D has [in, out].
 * @module
 */

import type { GgufOut } from "../../io/gguf_writer.ts";
import type { GgufLayout, GgufPlace } from "../gguf_layout.ts";
import type { GPT2Config } from "./config.ts";

/** Modules outside the blocks, and in a block, by llama.cpp's names. */
const NAMES: Readonly<Record<string, string>> = {
  "transformer.wte": "token_embd",
  "transformer.wpe": "position_embd",
  "transformer.ln_f": "output_norm",
  "lm_head": "output",
  "ln_1": "attn_norm",
  "attn.c_attn": "attn_qkv",
  "attn.c_proj": "attn_output",
  "ln_2": "ffn_norm",
  "mlp.c_fc": "ffn_up",
  "mlp.c_proj": "ffn_down",
};

/** GPT-2's names, layouts and metadata. */
export const GPT2_GGUF: GgufLayout<GPT2Config> = {
  architectures: ["gpt2"],
  architectureOf: () => "gpt2",
  readConfig: (metadata) => {
    const eps = metadata.find("attention.layer_norm_epsilon");
    const { tensors } = metadata;
    return {
      model_type: "gpt2",
      vocab_size: tensors.get("token_embd.weight")?.shape[0] ?? 0,
      n_positions: metadata.number("context_length"),
      n_embd: metadata.number("embedding_length"),
      n_layer: metadata.number("block_count"),
      n_head: metadata.number("attention.head_count"),
      n_inner: metadata.find("feed_forward_length") ?? null,
      // stored as float32: the decimal number that was meant
      ...(eps === undefined ? {} : { layer_norm_epsilon: Number(eps.toPrecision(6)) }),
      bos_token_id: metadata.id("tokenizer.ggml.bos_token_id"),
      eos_token_id: metadata.id("tokenizer.ggml.eos_token_id"),
    };
  },
  writeConfig: (config) => {
    if (config.activationFunction !== "gelu_new") {
      throw new TypeError(
        `Cannot export GPT-2: llama.cpp computes gelu_new, received activation_function "${config.activationFunction}"`,
      );
    }
    return new Map<string, GgufOut>([
      ["vocab_size", { u32: config.vocabSize }],
      ["context_length", { u32: config.nPositions }],
      ["embedding_length", { u32: config.nEmbd }],
      ["block_count", { u32: config.nLayer }],
      ["attention.head_count", { u32: config.nHead }],
      ["feed_forward_length", { u32: config.nInner ?? 4 * config.nEmbd }],
      ["attention.layer_norm_epsilon", { f32: config.layerNormEpsilon }],
    ]);
  },
  placesOf: (path): GgufPlace[] => {
    const [, block, module, kind] = /^(?:transformer\.h\.(\d+)\.)?(.*)\.(weight|bias)$/.exec(path) ?? [];
    const name = NAMES[module];
    if (name === undefined) return [];
    const transposed = /c_attn|c_proj|c_fc/.test(module) && kind === "weight";
    return [{ name: `${block === undefined ? "" : `blk.${block}.`}${name}.${kind}`, transposed }];
  },
  ignores: (name) => name === "output.weight", // a copy of the token embedding
};
