/**
 * Llama and its relatives in llama.cpp's GGUF files. Source: llama.cpp's conversion/{llama,qwen,gemma}.py, gguf-py's
 * tensor_mapping.py.
 * @module
 */

import { GgufError } from "../../io/gguf_header.ts";
import type { GgufOut } from "../../io/gguf_writer.ts";
import { quote } from "../../io/relative_path.ts";
import type { GgufLayout, GgufMetadata, GgufPlace } from "../gguf_layout.ts";
import type { LlamaConfig } from "./config.ts";
import { inverseFrequencies, type RopeParameters } from "./rope.ts";
import type { LlamaType } from "./variants.ts";

/** Model types by `general.architecture`. */
const TYPES: Readonly<Record<string, LlamaType>> = {
  llama: "llama", // Mistral's too
  qwen2: "qwen2",
  qwen3: "qwen3",
  gemma3: "gemma3_text",
  smollm3: "smollm3",
};

/** Model types whose queries and keys llama.cpp turns in pairs of neighbours. */
const PAIRED: ReadonlySet<LlamaType> = new Set<LlamaType>(["llama", "mistral", "smollm3"]);

/** Modules by llama.cpp's names. */
const NAMES: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  "lm_head": "output",
  "input_layernorm": "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "post_attention_layernorm": "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};
/** Gemma's, where they differ. */
const GEMMA_NAMES: Readonly<Record<string, string>> = {
  "post_attention_layernorm": "post_attention_norm",
  "pre_feedforward_layernorm": "ffn_norm",
  "post_feedforward_layernorm": "post_ffw_norm",
};

/** A float32 of the file as the decimal number that was meant. */
const decimal = (value: number | undefined) => value === undefined ? undefined : Number(value.toPrecision(6));

/** The factors of Llama 3's scaling: all published models have these. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4 };
/** Positions that models were trained for before the scaling; published models have the first. */
const LLAMA3_POSITIONS = [8192, ...Array.from({ length: 13 }, (_, i) => 2 ** (i + 4))];

/** What Llama 3's scaling divides each frequency by. */
function llama3Divisors(parameters: RopeParameters, size: number): Float32Array {
  const scaled = inverseFrequencies(parameters, size);
  const plain = inverseFrequencies({ rope_type: "default", rope_theta: parameters.rope_theta }, size);
  return Float32Array.from(scaled, (frequency, i) => plain[i] / frequency);
}

/** Rotary parameters; `rope_freqs.weight` holds what Llama 3 divides each frequency by. */
async function readRope(metadata: GgufMetadata, size: number): Promise<Record<string, unknown>> {
  const theta = metadata.find("rope.freq_base") ?? 10000;
  const divisors = await metadata.numbers("rope_freqs.weight");
  if (divisors === undefined) {
    const type = metadata.text(`${metadata.architecture}.rope.scaling.type`);
    const factor = metadata.find("rope.scaling.factor");
    if (type === undefined || type === "none" || factor === undefined) {
      return { rope_type: "default", rope_theta: theta };
    }
    const original = metadata.find("rope.scaling.original_context_length");
    const start = original === undefined ? {} : { original_max_position_embeddings: original };
    return { rope_type: type, rope_theta: theta, factor, ...start };
  }
  const factor = Math.max(...divisors);
  for (const positions of LLAMA3_POSITIONS) {
    const found = {
      rope_type: "llama3",
      rope_theta: theta,
      factor,
      ...LLAMA3,
      original_max_position_embeddings: positions,
    };
    const expected = llama3Divisors(found, size);
    const fits = divisors.length === expected.length &&
      expected.every((value, i) => Math.abs(value - divisors[i]) <= 1e-4 * value);
    if (fits) return found;
  }
  throw new GgufError(
    `Cannot load ${
      quote(metadata.name)
    }: rope_freqs.weight must hold the divisors of Llama 3's scaling, received others`,
  );
}

async function readConfig(metadata: GgufMetadata): Promise<Record<string, unknown>> {
  const type = TYPES[metadata.architecture];
  const hidden = metadata.number("embedding_length");
  const heads = metadata.number("attention.head_count");
  const size = metadata.find("attention.key_length") ?? metadata.find("rope.dimension_count") ??
    hidden / heads;
  const layers = metadata.number("block_count");
  const has = (name: string) => metadata.tensors.has(name);
  const full = await readRope(metadata, size);
  const gemma = type === "gemma3_text";
  const local = metadata.find("rope.freq_base_swa") ?? 10000;
  const window = metadata.find("attention.sliding_window");
  const pattern = metadata.find("attention.sliding_window_pattern") ?? 6;
  // of a text, of a turn, and of a turn that calls a function
  const ends = [
    ...new Set(["eos", "eot", "eom"].map((kind) => metadata.id(`tokenizer.ggml.${kind}_token_id`))),
  ]
    .filter((id) => id !== null);
  return {
    model_type: type,
    vocab_size: metadata.tensors.get("token_embd.weight")?.shape[0] ?? 0,
    hidden_size: hidden,
    intermediate_size: metadata.number("feed_forward_length"),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: metadata.find("attention.head_count_kv") ?? heads,
    head_dim: size,
    max_position_embeddings: metadata.number("context_length"),
    rms_norm_eps: decimal(metadata.find("attention.layer_norm_rms_epsilon")),
    tie_word_embeddings: !has("output.weight"),
    attention_bias: type !== "qwen2" && has("blk.0.attn_q.bias"),
    mlp_bias: has("blk.0.ffn_gate.bias"),
    rope_parameters: gemma
      ? { full_attention: full, sliding_attention: { rope_type: "default", rope_theta: local } }
      : full,
    ...(gemma
      ? {
        sliding_window: window ?? 512,
        sliding_window_pattern: pattern,
        // the largest model divides by another number than the head size
        query_pre_attn_scalar: layers === 62 ? hidden / heads : size,
        final_logit_softcapping: decimal(metadata.find("final_logit_softcapping")) ?? null,
      }
      : { sliding_window: type === "llama" ? null : window ?? null }),
    bos_token_id: metadata.id("tokenizer.ggml.bos_token_id"),
    eos_token_id: ends.length > 1 ? ends : ends[0] ?? null,
    pad_token_id: metadata.id("tokenizer.ggml.padding_token_id"),
  };
}

function refuse(problem: string): never {
  throw new TypeError(`Cannot export the model: ${problem}`);
}

/** Metadata of the rotary embeddings. */
function writeRope({ rope, modelType, maxPositionEmbeddings }: LlamaConfig): [string, GgufOut][] {
  const { rope_type: type, rope_theta: theta, factor, original_max_position_embeddings: original } =
    rope.full;
  const entries: [string, GgufOut][] = [["rope.freq_base", { f32: theta }]];
  if (modelType === "gemma3_text") entries.push(["rope.freq_base_swa", { f32: rope.sliding.rope_theta }]);
  if (type === "default" || type === "llama3") return entries; // the latter is a tensor
  if (type === "dynamic") refuse('llama.cpp has no rotary embeddings of rope_type "dynamic"');
  const own = Number(original ?? maxPositionEmbeddings);
  return [
    ...entries,
    ["rope.scaling.type", { string: type }],
    ["rope.scaling.factor", { f32: Number(factor ?? maxPositionEmbeddings / own) }],
    ["rope.scaling.original_context_length", { u32: own }],
  ];
}

/** Fails for what llama.cpp computes in another way. */
function checkExport(config: LlamaConfig): void {
  const gemma = config.variant.gemma ?? false;
  const activation = gemma ? "gelu_pytorch_tanh" : "silu";
  if (config.hiddenAct !== activation) {
    refuse(
      `llama.cpp computes ${activation} for ${config.variant.displayName}, received ${config.hiddenAct}`,
    );
  }
  for (const [i, { rope, window }] of config.layers.entries()) {
    if ((rope === null) !== (config.modelType === "smollm3" && (i + 1) % 4 === 0)) {
      refuse(`llama.cpp has rotary embeddings in other layers of ${config.variant.displayName}`);
    }
    if (gemma && (window === null) !== ((i + 1) % 6 === 0)) {
      refuse("llama.cpp lets every sixth layer of Gemma 3 see everything, the others a window");
    }
  }
}

function writeConfig(config: LlamaConfig): Map<string, GgufOut> {
  checkExport(config);
  const { keyValueHeads, headSize, variant } = config;
  // llama.cpp knows windows for Gemma alone: others are exact within one
  const windows = config.layers.map(({ window }) => window ?? Infinity);
  const positions = variant.gemma
    ? config.maxPositionEmbeddings
    : Math.min(config.maxPositionEmbeddings, ...windows);
  return new Map<string, GgufOut>([
    ["vocab_size", { u32: config.vocabSize }],
    ["context_length", { u32: positions }],
    ["embedding_length", { u32: config.hiddenSize }],
    ["block_count", { u32: config.numHiddenLayers }],
    ["feed_forward_length", { u32: config.intermediateSize }],
    ["attention.head_count", { u32: config.numAttentionHeads }],
    ["attention.head_count_kv", { u32: keyValueHeads }],
    ["attention.key_length", { u32: headSize }],
    ["attention.value_length", { u32: headSize }],
    ["attention.layer_norm_rms_epsilon", { f32: config.rmsNormEps }],
    ["rope.dimension_count", { u32: headSize }],
    ...writeRope(config),
    ...(variant.gemma ? [["attention.sliding_window", { u32: config.slidingWindow! }] as const] : []),
    ...(config.finalLogitSoftcapping === null
      ? []
      : [["final_logit_softcapping", { f32: config.finalLogitSoftcapping }] as const]),
  ]);
}

function extraTensors({ rope, headSize }: LlamaConfig): Map<string, Float32Array> {
  if (rope.full.rope_type !== "llama3") return new Map();
  return new Map([["rope_freqs.weight", llama3Divisors(rope.full, headSize)]]);
}

function placesOf(path: string, config: LlamaConfig): GgufPlace[] {
  const [, block, module, kind] = /^(?:model\.layers\.(\d+)\.)?(.*)\.(weight|bias)$/.exec(path) ?? [];
  const gemma = config.variant.gemma ?? false;
  const start = block === undefined ? "" : `blk.${block}.`;
  const name = (gemma ? GEMMA_NAMES[module] : undefined) ?? NAMES[module];
  if (name === undefined) return [];
  const place: GgufPlace = { name: `${start}${name}.${kind}` };
  if (gemma && /norm$/.test(module)) return [{ ...place, shift: -1 }]; // stored as 1 + w
  const part = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"].indexOf(module);
  if (part < 0) return [place];
  const { numAttentionHeads, keyValueHeads, headSize } = config;
  const heads = part === 0 ? numAttentionHeads : keyValueHeads;
  const turned = part < 2 && PAIRED.has(config.modelType) ? { rotaryHeads: heads } : {};
  const [q, k] = [numAttentionHeads * headSize, keyValueHeads * headSize];
  const first = [0, q, q + k][part];
  return [
    { ...place, ...turned },
    { name: `${start}attn_qkv.${kind}`, rows: [first, first + heads * headSize], ...turned },
  ];
}

/** The family's names, layouts and metadata. */
export const LLAMA_GGUF: GgufLayout<LlamaConfig> = {
  architectures: Object.keys(TYPES),
  architectureOf: ({ modelType }) =>
    Object.keys(TYPES).find((architecture) => TYPES[architecture] === modelType) ?? "llama", // Mistral's is Llama's
  readConfig,
  writeConfig,
  extraTensors,
  placesOf,
  ignores: (name) => name === "rope_freqs.weight", // read with the configuration
};
