/**
 * How the architectures of this family differ, by `model_type`: data that one decoder reads.
 * Source: `transformers` 5.24, models/{llama,mistral,qwen2,qwen3,gemma3,smollm3}.
 * @module
 */

/**
 * What an architecture does in its own way.
 *
 * @example
 * ```ts
 * import { LlamaConfig, type Variant } from "@peft/webgpu/model";
 *
 * const { className, qkvBias, headNorms }: Variant = new LlamaConfig("qwen2").variant;
 * console.log(className, qkvBias, headNorms); // Qwen2ForCausalLM true undefined
 * ```
 */
export interface Variant {
  /** Name for a reader. */
  readonly displayName: string;
  /** Class in `architectures` of config.json. */
  readonly className: string;
  /** Defaults of config.json that are not Llama's. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Whether queries, keys and values have biases whatever the configuration says. */
  readonly qkvBias?: true;
  /** Whether the configuration's `mlp_bias` counts. */
  readonly mlpBias?: true;
  /** Whether the heads of queries and keys go through a norm. */
  readonly headNorms?: true;
  /** Gemma's form: norms multiply by 1 + w, attention and MLP end in a norm, embeddings are scaled. */
  readonly gemma?: true;
  /** Which layers see a window alone: all where one is given, those after `max_window_layers`, or `layer_types`. */
  readonly window: "never" | "all" | "after" | "types";
}

const QWEN = {
  defaults: {
    vocab_size: 151936,
    hidden_size: 4096,
    intermediate_size: 22016,
    num_key_value_heads: 32,
    max_position_embeddings: 32768,
    rms_norm_eps: 1e-6,
    sliding_window: 4096,
    bos_token_id: null,
    eos_token_id: null,
  },
  window: "after",
} as const;

const variants = {
  llama: {
    displayName: "Llama",
    className: "LlamaForCausalLM",
    defaults: {},
    mlpBias: true,
    window: "never",
  },
  mistral: {
    displayName: "Mistral",
    className: "MistralForCausalLM",
    defaults: {
      intermediate_size: 14336,
      num_key_value_heads: 8,
      max_position_embeddings: 131072,
      sliding_window: 4096,
    },
    window: "all",
  },
  qwen2: { displayName: "Qwen2", className: "Qwen2ForCausalLM", ...QWEN, qkvBias: true },
  qwen3: {
    displayName: "Qwen3",
    className: "Qwen3ForCausalLM",
    ...QWEN,
    defaults: { ...QWEN.defaults, head_dim: 128 },
    headNorms: true,
  },
  gemma3_text: {
    displayName: "Gemma 3",
    className: "Gemma3ForCausalLM",
    defaults: {
      vocab_size: 262208,
      hidden_size: 2304,
      intermediate_size: 9216,
      num_hidden_layers: 26,
      num_attention_heads: 8,
      num_key_value_heads: 4,
      head_dim: 256,
      hidden_act: "gelu_pytorch_tanh",
      max_position_embeddings: 131072,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      sliding_window: 4096,
      query_pre_attn_scalar: 256,
      rope_theta: 1e6,
      bos_token_id: 2,
      eos_token_id: 1,
      pad_token_id: 0,
    },
    headNorms: true,
    gemma: true,
    window: "types",
  },
  smollm3: {
    displayName: "SmolLM3",
    className: "SmolLM3ForCausalLM",
    defaults: {
      vocab_size: 128256,
      hidden_size: 2048,
      intermediate_size: 11008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 4,
      max_position_embeddings: 32768,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      rope_theta: 2e6,
      no_rope_layer_interval: 4,
      bos_token_id: 128000,
      eos_token_id: 128001,
      pad_token_id: 128004,
    },
    mlpBias: true,
    window: "after",
  },
} as const satisfies Readonly<Record<string, Variant>>;

/**
 * `model_type` of config.json.
 *
 * @example
 * ```ts
 * import { LlamaConfig, type LlamaType } from "@peft/webgpu/model";
 *
 * const types: LlamaType[] = ["llama", "qwen3", "smollm3"];
 * console.log(types.map((type) => new LlamaConfig(type).facts.displayName)); // [ "Llama", "Qwen3", "SmolLM3" ]
 * ```
 */
export type LlamaType = "llama" | "mistral" | "qwen2" | "qwen3" | "gemma3_text" | "smollm3";

/** The architectures by `model_type`. */
export const VARIANTS: Readonly<Record<LlamaType, Variant>> = variants;
