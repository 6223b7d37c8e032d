/**
 * The configuration of Llama and its relatives: `config.json` of `transformers` 4 and 5, camelCase in TypeScript.
 * @module
 */

import type { ActivationName } from "../../nn/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { flag, orNull, type Rule, rule } from "../../options/rules.ts";
import {
  completeOptions,
  fromDisk,
  namesOf,
  option,
  type OptionTable,
  snakeCase,
  toDisk,
} from "../../options/table.ts";
import {
  activationName,
  depth,
  positive,
  probability,
  size,
  sizeOrNull,
  tokenId,
  tokenIds,
} from "../config_rules.ts";
import type { ModelConfig, ModelFacts } from "../facts.ts";
import type { RopeParameters } from "./rope.ts";
import { type LlamaType, type Variant, VARIANTS } from "./variants.ts";

/**
 * Fields of the configuration that change numbers. Defaults are those of `transformers`' class for the model type.
 *
 * @example
 * ```ts
 * import { LlamaConfig, type LlamaConfigFields } from "@peft/webgpu/model";
 *
 * const small: Partial<LlamaConfigFields> = { hiddenSize: 64, intermediateSize: 96, numHiddenLayers: 2, numAttentionHeads: 2 };
 * const config = new LlamaConfig("llama", { ...small, numKeyValueHeads: 1 }); // the two query heads share keys and values
 * console.log(config.facts.headSize, config.toJSON().num_hidden_layers); // 32 2
 * ```
 */
export interface LlamaConfigFields {
  /** Number of tokens. */
  vocabSize: number;
  /** Width of the residual stream. */
  hiddenSize: number;
  /** Width inside the MLP. */
  intermediateSize: number;
  /** Blocks. */
  numHiddenLayers: number;
  /** Attention heads of the queries. */
  numAttentionHeads: number;
  /** Attention heads of keys and values; null: as many. */
  numKeyValueHeads: number | null;
  /** Size of a head; null: hiddenSize / numAttentionHeads. */
  headDim: number | null;
  /** Activation of the MLP. */
  hiddenAct: ActivationName;
  /** Longest sequence. */
  maxPositionEmbeddings: number;
  /** Standard deviation of initial weights. */
  initializerRange: number;
  /** Added to the mean square in norms. */
  rmsNormEps: number;
  /** Whether the head is the token embedding. */
  tieWordEmbeddings: boolean;
  /** Biases of the attention's projections. */
  attentionBias: boolean;
  /** Biases of the MLP's projections. */
  mlpBias: boolean;
  /** Dropout of attention probabilities. */
  attentionDropout: number;
  /** Tokens that a layer with a window sees, itself included; null: all. */
  slidingWindow: number | null;
  /** Whether Qwen and SmolLM3 use `slidingWindow`. */
  useSlidingWindow: boolean;
  /** First layer of those with a window. */
  maxWindowLayers: number;
  /** "sliding_attention" or "full_attention" of each layer; null: by the fields above. */
  layerTypes: readonly string[] | null;
  /** 1 for each layer with rotary embeddings, 0 for one without; null: by the next field. */
  noRopeLayers: readonly number[] | null;
  /** Every how many layers one has no rotary embeddings; null: all have them. */
  noRopeLayerInterval: number | null;
  /** Attention scores are divided by its square root; null: by that of the head size. */
  queryPreAttnScalar: number | null;
  /** Gemma: logits are c tanh(logits / c) for this c; null: as they are. */
  finalLogitSoftcapping: number | null;
  /** Token that starts a text. */
  bosTokenId: number | null;
  /** Token, or tokens, that end a text. */
  eosTokenId: number | number[] | null;
  /** Token that pads rows. */
  padTokenId: number | null;
}

const layerTypes: Rule<readonly string[] | null> = rule(
  'a list of "full_attention" and "sliding_attention", or null',
  (value) =>
    value === null ||
    Array.isArray(value) && value.every((type) => type === "full_attention" || type === "sliding_attention"),
);
const positiveOrNull: Rule<number | null> = orNull(
  rule<number>("a positive number", (v) => typeof v === "number" && v > 0 && v < Infinity),
);
const zerosAndOnes: Rule<readonly number[] | null> = rule(
  "a list of 0 and 1, or null",
  (value) => value === null || Array.isArray(value) && value.every((entry) => entry === 0 || entry === 1),
);

/** Llama's fields and defaults. */
const OPTIONS: OptionTable<LlamaConfigFields> = {
  vocabSize: option(32000, size),
  hiddenSize: option(4096, size),
  intermediateSize: option(11008, size),
  numHiddenLayers: option(32, depth),
  numAttentionHeads: option(32, size),
  numKeyValueHeads: option<number | null>(null, sizeOrNull),
  headDim: option<number | null>(null, sizeOrNull),
  hiddenAct: option<ActivationName>("silu", activationName),
  maxPositionEmbeddings: option(2048, size),
  initializerRange: option(0.02, positive),
  rmsNormEps: option(1e-6, positive),
  tieWordEmbeddings: option(false, flag),
  attentionBias: option(false, flag),
  mlpBias: option(false, flag),
  attentionDropout: option(0, probability),
  slidingWindow: option<number | null>(null, sizeOrNull),
  useSlidingWindow: option(false, flag),
  maxWindowLayers: option(
    28,
    rule("an integer of at least 0", (v) => Number.isInteger(v) && (v as number) >= 0),
  ),
  layerTypes: option<readonly string[] | null>(null, layerTypes),
  noRopeLayers: option<readonly number[] | null>(null, zerosAndOnes),
  noRopeLayerInterval: option<number | null>(null, sizeOrNull),
  queryPreAttnScalar: option<number | null>(null, positiveOrNull),
  finalLogitSoftcapping: option<number | null>(null, positiveOrNull),
  bosTokenId: option<number | null>(1, tokenId),
  eosTokenId: option<number | number[] | null>(2, tokenIds),
  padTokenId: option<number | null>(null, tokenId),
};

/**
 * Rotary embeddings of layers that see everything, and of those with a window.
 *
 * @example
 * ```ts
 * import { LlamaConfig, type RopeKinds } from "@peft/webgpu/model";
 *
 * const { full, sliding }: RopeKinds = new LlamaConfig("gemma3_text").rope;
 * console.log(full.rope_theta, sliding.rope_theta);
 * ```
 */
export interface RopeKinds {
  /** Layers that see every token before. */
  readonly full: RopeParameters;
  /** Layers with a window. */
  readonly sliding: RopeParameters;
}

/**
 * What a layer does in its own way.
 *
 * @example
 * ```ts
 * import { type LayerPlan, LlamaConfig } from "@peft/webgpu/model";
 *
 * const config = new LlamaConfig("gemma3_text", { numHiddenLayers: 6 });
 * const plans: LayerPlan[] = config.layers;
 * console.log(plans.map(({ rope, window }) => `${rope} ${window}`)); // five layers with a window, then one without
 * ```
 */
export interface LayerPlan {
  /** Which rotary embeddings it has; null for none. */
  readonly rope: keyof RopeKinds | null;
  /** Tokens that it sees, itself included; null: all before. */
  readonly window: number | null;
}

/** One kind of rotary parameters, from either version's fields. */
function readRope(given: Record<string, unknown>, theta: unknown): RopeParameters {
  const { type, rope_type = type ?? "default", rope_theta = theta ?? 10000, ...rest } = given;
  return { ...rest, rope_type: String(rope_type), rope_theta: Number(rope_theta) };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Rotary parameters of config.json: `rope_parameters` of version 5, alone or by the type of layer, or version 4's
 * `rope_theta`, `rope_scaling` and `rope_local_base_freq`.
 */
function ropeKinds(json: Readonly<Record<string, unknown>>, gemma: boolean): RopeKinds {
  const { rope_parameters: parameters, rope_theta: theta, rope_scaling: scaling } = json;
  if (isObject(parameters)) {
    const { full_attention: full, sliding_attention: sliding } = parameters;
    if (isObject(full) && isObject(sliding)) {
      return { full: readRope(full, theta), sliding: readRope(sliding, 1e4) };
    }
    const one = readRope(parameters, theta);
    return { full: one, sliding: one };
  }
  const full = readRope(isObject(scaling) ? scaling : {}, theta);
  if (!gemma) return { full, sliding: full };
  return { full, sliding: readRope({}, json.rope_local_base_freq ?? 1e4) };
}

/** What may be given: the fields, and what else a configuration that is spread brings along. */
const FIELDS: readonly string[] = [...namesOf(OPTIONS), "modelType", "nameOrPath", "rope"];

/**
 * A checked configuration.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
 *
 * const config = new LlamaConfig("llama", {
 *   vocabSize: 64,
 *   hiddenSize: 32,
 *   intermediateSize: 48,
 *   numHiddenLayers: 1,
 *   numAttentionHeads: 2,
 *   numKeyValueHeads: 1,
 * });
 * const model = new LlamaForCausalLM(config, { device: await initDevice(), seed: 1 });
 * console.log(model.forward({ inputIds: [[1, 2]] }).logits.shape); // [1, 2, 64]
 * ```
 */
export class LlamaConfig implements ModelConfig {
  /** `model_type` of config.json: "llama", "mistral", "qwen2", "qwen3", "gemma3_text" or "smollm3". */
  readonly modelType: LlamaType;
  /** Folder or hub id it came from; adapters record it. */
  nameOrPath: string | null = null;
  /** Rotary embeddings by kind of layer. */
  readonly rope: RopeKinds;
  readonly #extra: Readonly<Record<string, unknown>>;

  /**
   * Missing fields take the defaults of `transformers`' class.
   * @param extra fields of config.json that are no fields here, kept for `toJSON()`; rotary parameters are read from them
   * @throws {RangeError} for a value that no such model can have, and for the `rope` of a configuration whose rotary parameters
   * `extra` does not bring
   * @throws {TypeError} for a field that does not exist
   */
  constructor(
    modelType: LlamaType,
    fields: Partial<LlamaConfigFields> & { readonly rope?: RopeKinds } = {},
    extra: Readonly<Record<string, unknown>> = {},
  ) {
    const variant: Variant = VARIANTS[modelType];
    const refuse = (message: string): never => {
      throw new RangeError(`Cannot configure ${variant.displayName}: ${message}`);
    };
    checkOptions(`configure ${variant.displayName}`, fields, FIELDS, "field");
    const { given: own, rest } = fromDisk(OPTIONS, variant.defaults);
    const all = completeOptions(OPTIONS, { ...own, ...fields }, { refuse, nameOf: snakeCase });
    this.modelType = modelType;
    Object.assign(this, all);
    this.rope = ropeKinds({ ...rest, ...extra }, variant.gemma ?? false);
    if (fields.rope && JSON.stringify(fields.rope) !== JSON.stringify(this.rope)) {
      refuse(
        "rotary parameters are read from extra, received other ones in rope; " +
          "use LlamaConfig.fromJSON({ ...config.toJSON(), … }) to change fields of a configuration",
      );
    }
    this.#extra = extra;
    const { numAttentionHeads: heads, hiddenSize, headDim, numHiddenLayers: layers } = all;
    if (headDim === null && hiddenSize % heads !== 0) {
      refuse(`hidden_size must be a multiple of num_attention_heads ${heads}, received ${hiddenSize}`);
    }
    if (heads % this.keyValueHeads !== 0) {
      refuse(
        `num_attention_heads must be a multiple of num_key_value_heads ${this.keyValueHeads}, received ${heads}`,
      );
    }
    if (this.headSize % 2 !== 0) refuse(`head_dim must be even, received ${this.headSize}`);
    for (const name of ["layerTypes", "noRopeLayers"] as const) {
      const list = all[name];
      if (list !== null && list.length < layers) {
        refuse(`${snakeCase(name)} must have an entry for each of ${layers} layers, received ${list.length}`);
      }
    }
    if (all.finalLogitSoftcapping !== null && !variant.gemma) {
      refuse(`final_logit_softcapping is Gemma's alone, received ${all.finalLogitSoftcapping}`);
    }
    if (extra.use_bidirectional_attention) {
      refuse(
        `use_bidirectional_attention is not supported, received ${
          JSON.stringify(extra.use_bidirectional_attention)
        }`,
      );
    }
  }

  /** The configuration in `config.json`. @throws {TypeError} for another `model_type` */
  static fromJSON(json: Readonly<Record<string, unknown>>): LlamaConfig {
    const type = json.model_type;
    if (typeof type !== "string" || !Object.hasOwn(VARIANTS, type)) {
      throw new TypeError(
        `Cannot load the model: model_type must be one of ${Object.keys(VARIANTS).join(", ")}, received ${
          JSON.stringify(type)
        }`,
      );
    }
    const { hidden_activation: act, ...rest } = json;
    const { given, rest: extra } = fromDisk(OPTIONS, act === undefined ? json : { hidden_act: act, ...rest });
    return new LlamaConfig(type as LlamaType, given, extra);
  }

  /** What its architecture does in its own way. */
  get variant(): Variant {
    return VARIANTS[this.modelType];
  }

  /** Heads of keys and values. */
  get keyValueHeads(): number {
    return this.numKeyValueHeads ?? this.numAttentionHeads;
  }

  /** Size of a head. */
  get headSize(): number {
    return this.headDim ?? this.hiddenSize / this.numAttentionHeads;
  }

  /** What each layer does in its own way. */
  get layers(): LayerPlan[] {
    const { slidingWindow, noRopeLayers, noRopeLayerInterval: interval } = this;
    const { window } = this.variant;
    return Array.from({ length: this.numHiddenLayers }, (_, i) => {
      const type = this.layerTypes?.[i];
      const slides = type !== undefined
        ? type === "sliding_attention"
        : window === "all" || window === "after" && this.useSlidingWindow && i >= this.maxWindowLayers ||
          window === "types" && (i + 1) % Number(this.#extra.sliding_window_pattern ?? 6) !== 0;
      const turns = noRopeLayers ? noRopeLayers[i] === 1 : interval === null || (i + 1) % interval !== 0;
      const isWindow = slides && slidingWindow !== null;
      return { rope: turns ? slides ? "sliding" : "full" : null, window: isWindow ? slidingWindow : null };
    });
  }

  /** The fields of `config.json`. */
  toJSON(): Record<string, unknown> {
    const { variant } = this;
    const { hidden_act, ...fields } = toDisk<LlamaConfigFields>(OPTIONS, this);
    const json = {
      architectures: [variant.className],
      ...this.#extra,
      model_type: this.modelType,
      ...fields,
      head_dim: this.headSize,
      num_key_value_heads: this.keyValueHeads,
      ...(variant.gemma ? { hidden_activation: hidden_act } : { hidden_act }),
    };
    return Object.fromEntries(Object.entries(json).sort(([a], [b]) => a < b ? -1 : 1));
  }

  /** The configuration in terms that all architectures share. */
  get facts(): ModelFacts {
    const { rope_type: ropeType, factor } = this.rope.full;
    // Dynamic rotary embeddings stretch with the sequence; beyond their factor they are of no use.
    const stretch = ropeType === "dynamic" && typeof factor === "number" ? Math.max(1, factor) : 1;
    return {
      ...(ropeType === "dynamic" ? { hasDynamicPositions: true } : {}),
      modelType: this.modelType,
      displayName: this.variant.displayName,
      vocabSize: this.vocabSize,
      hiddenSize: this.hiddenSize,
      numLayers: this.numHiddenLayers,
      numHeads: this.numAttentionHeads,
      numKeyValueHeads: this.keyValueHeads,
      headSize: this.headSize,
      maxPositions: Math.floor(stretch * this.maxPositionEmbeddings),
      maxPositionsKey: stretch === 1 ? "max_position_embeddings" : "max_position_embeddings times factor",
      ...(this.finalLogitSoftcapping === null ? {} : { logitSoftcap: this.finalLogitSoftcapping }),
      eosTokenIds: [this.eosTokenId ?? []].flat().filter((id) => id >= 0),
      padTokenId: this.padTokenId,
    };
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { LlamaConfig } from "@peft/webgpu/model";
 *
 * const { numAttentionHeads, numKeyValueHeads }: LlamaConfig = new LlamaConfig("mistral");
 * console.log(numAttentionHeads / numKeyValueHeads!); // 4 query heads share each key
 * ```
 */
export interface LlamaConfig extends LlamaConfigFields {}
