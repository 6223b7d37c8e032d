/**
 * Plain facts about a language model, the same for every architecture. Generation, the cache, prompt learning and the
 * command line ask these instead of the names that one architecture's configuration has for them.
 * @module
 */

/**
 * Sizes and special tokens of a language model.
 *
 * @example
 * ```ts
 * import { LlamaConfig, type ModelFacts } from "@peft/webgpu/model";
 *
 * const { numKeyValueHeads, headSize, numLayers }: ModelFacts = new LlamaConfig("mistral").facts;
 * console.log(2 * 4 * numLayers * numKeyValueHeads * headSize); // 262144 bytes of keys and values for each token, in float32
 * ```
 */
export interface ModelFacts {
  /** `model_type` of config.json, such as "llama". */
  readonly modelType: string;
  /** The architecture's name for a reader, such as "Llama". */
  readonly displayName: string;
  /** Number of tokens, V. */
  readonly vocabSize: number;
  /** Width of the residual stream, C. */
  readonly hiddenSize: number;
  /** Number of blocks. */
  readonly numLayers: number;
  /** Attention heads of the queries, H. */
  readonly numHeads: number;
  /** Attention heads of the keys and values: H, or fewer where query heads share them. */
  readonly numKeyValueHeads: number;
  /** Size of a head, D. H D need not be C. */
  readonly headSize: number;
  /** Longest sequence in tokens. */
  readonly maxPositions: number;
  /** What config.json calls `maxPositions`; errors name it. */
  readonly maxPositionsKey: string;
  /** Whether what a position means depends on the length of the sequence; absent: no. */
  readonly hasDynamicPositions?: boolean;
  /** Logits are c tanh(logits / c) for this c; absent: as the head gives them. */
  readonly logitSoftcap?: number;
  /** Tokens that end a text. */
  readonly eosTokenIds: readonly number[];
  /** Token that pads rows; null where the configuration names none. */
  readonly padTokenId: number | null;
}

/**
 * What every architecture's configuration has besides its own fields.
 *
 * @example
 * ```ts
 * import { GPT2Config, LlamaConfig, type ModelConfig } from "@peft/webgpu/model";
 *
 * const sizeOf = ({ modelType, facts }: ModelConfig) => `${modelType}: ${facts.numLayers} x ${facts.hiddenSize}`;
 * console.log([new GPT2Config(), new LlamaConfig("mistral")].map(sizeOf)); // [ "gpt2: 12 x 768", "mistral: 32 x 4096" ]
 * ```
 */
export interface ModelConfig {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Folder or hub id it came from; adapters record it. */
  nameOrPath: string | null;
  /** The configuration in terms that all architectures share. */
  readonly facts: ModelFacts;
  /** The fields of config.json. */
  toJSON(): Record<string, unknown>;
}

/** Numbers of a cached token per layer, all key and value heads side by side: 2 Hkv D. */
export function keyValueSize({ numKeyValueHeads, headSize }: ModelFacts): number {
  return 2 * numKeyValueHeads * headSize;
}
