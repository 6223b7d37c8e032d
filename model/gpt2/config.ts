/**
 * GPT-2's configuration: `config.json` in Hugging Face's names, camelCase in TypeScript.
 * @module
 */

import type { ActivationName } from "../../nn/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { flag, rule } from "../../options/rules.ts";
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
  warnOfNegativeId,
} from "../config_rules.ts";
import type { ModelConfig, ModelFacts } from "../facts.ts";

/**
 * Fields of the configuration that change numbers; defaults are `transformers`' `GPT2Config`.
 *
 * @example
 * ```ts
 * import { GPT2Config, type GPT2ConfigFields } from "@peft/webgpu/model";
 *
 * const distilled: Partial<GPT2ConfigFields> = { nLayer: 6, residPdrop: 0, attnPdrop: 0, embdPdrop: 0 };
 * console.log(new GPT2Config(distilled).toJSON().resid_pdrop); // 0
 * ```
 */
export interface GPT2ConfigFields {
  /** Number of tokens; default 50257. */
  vocabSize: number;
  /** Longest sequence; default 1024. */
  nPositions: number;
  /** Width of the residual stream; default 768. */
  nEmbd: number;
  /** Blocks; default 12. */
  nLayer: number;
  /** Attention heads; default 12. */
  nHead: number;
  /** Width inside the MLP; null means 4 nEmbd. */
  nInner: number | null;
  /** Activation of the MLP; default "gelu_new". */
  activationFunction: ActivationName;
  /** Dropout of what is added to the residual stream; default 0.1. */
  residPdrop: number;
  /** Dropout of the embeddings; default 0.1. */
  embdPdrop: number;
  /** Dropout of attention probabilities; default 0.1. */
  attnPdrop: number;
  /** Added to the variance in layer norms; default 1e-5. */
  layerNormEpsilon: number;
  /** Standard deviation of initial weights; default 0.02. */
  initializerRange: number;
  /** Divide attention scores by the square root of the head size; default true. */
  scaleAttnWeights: boolean;
  /** Divide them by the block's number (from 1) too; default false. */
  scaleAttnByInverseLayerIdx: boolean;
  /** Compute scores in float32. That is always the case here; the field is kept for the file. */
  reorderAndUpcastAttn: boolean;
  /** Whether the head is the token embedding; default true. */
  tieWordEmbeddings: boolean;
  /** Token that starts a text; default 50256. */
  bosTokenId: number | null;
  /** Token, or tokens, that end a text; default 50256. */
  eosTokenId: number | number[] | null;
  /** Token that pads rows; default null. */
  padTokenId: number | null;
}

/** Every field with its default and what it must be. */
const OPTIONS: OptionTable<GPT2ConfigFields> = {
  vocabSize: option(50257, size),
  nPositions: option(1024, size),
  nEmbd: option(768, size),
  nLayer: option(12, depth),
  nHead: option(12, size),
  nInner: option(null, sizeOrNull),
  activationFunction: option("gelu_new", activationName),
  residPdrop: option(0.1, probability),
  embdPdrop: option(0.1, probability),
  attnPdrop: option(0.1, probability),
  layerNormEpsilon: option(1e-5, positive),
  initializerRange: option(0.02, positive),
  scaleAttnWeights: option(true, flag),
  scaleAttnByInverseLayerIdx: option(false, flag),
  reorderAndUpcastAttn: option(false, rule("anything", () => true)),
  tieWordEmbeddings: option(true, flag),
  bosTokenId: option(50256, tokenId),
  eosTokenId: option(50256, tokenIds),
  padTokenId: option(null, tokenId),
};

function refuse(message: string): never {
  throw new RangeError(`Cannot configure GPT-2: ${message}`);
}

/** What may be given: the fields, and what else a configuration that is spread brings along. */
const FIELDS: readonly string[] = [...namesOf(OPTIONS), "modelType", "nameOrPath"];

/**
 * A checked configuration.
 *
 * @example
 * ```ts
 * import { GPT2Config } from "@peft/webgpu";
 *
 * const config = new GPT2Config({ nLayer: 6 }); // the other fields are those of gpt2
 * console.log(config.nEmbd, config.toJSON().n_layer); // 768 6
 * ```
 */
export class GPT2Config implements ModelConfig {
  /** Always "gpt2". */
  readonly modelType = "gpt2";
  /** Folder or hub id it came from; adapters record it. */
  nameOrPath: string | null = null;
  readonly #extra: Readonly<Record<string, unknown>>;

  /** Missing fields take `transformers`' defaults. @throws {RangeError} for a value that no GPT-2 can have */
  constructor(fields: Partial<GPT2ConfigFields> = {}, extra: Readonly<Record<string, unknown>> = {}) {
    checkOptions("configure GPT-2", fields, FIELDS, "field");
    const all = completeOptions(OPTIONS, fields, { refuse, nameOf: snakeCase });
    if (all.nEmbd % all.nHead !== 0) {
      refuse(`n_embd must be a multiple of n_head ${all.nHead}, received ${all.nEmbd}`);
    }
    for (const name of ["bosTokenId", "eosTokenId", "padTokenId"] as const) {
      warnOfNegativeId(snakeCase(name), all[name]);
    }
    Object.assign(this, all);
    this.#extra = extra;
  }

  /** The configuration in `config.json`; fields that change nothing here are kept for `toJSON()`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): GPT2Config {
    if (json.model_type !== undefined && json.model_type !== "gpt2") {
      throw new TypeError(
        `Cannot load the model: model_type must be "gpt2", received ${JSON.stringify(json.model_type)}`,
      );
    }
    if (json.add_cross_attention === true) {
      throw new TypeError("Cannot load the model: add_cross_attention must be false, received true");
    }
    const { given, rest } = fromDisk(OPTIONS, json);
    return new GPT2Config(given, rest);
  }

  /** The fields of `config.json`. */
  toJSON(): Record<string, unknown> {
    const json = {
      architectures: ["GPT2LMHeadModel"],
      ...this.#extra,
      model_type: this.modelType,
      ...toDisk<GPT2ConfigFields>(OPTIONS, this),
    };
    return Object.fromEntries(Object.entries(json).sort(([a], [b]) => a < b ? -1 : 1));
  }

  /** The configuration in terms that all architectures share. */
  get facts(): ModelFacts {
    return {
      modelType: this.modelType,
      displayName: "GPT-2",
      vocabSize: this.vocabSize,
      hiddenSize: this.nEmbd,
      numLayers: this.nLayer,
      numHeads: this.nHead,
      numKeyValueHeads: this.nHead,
      headSize: this.nEmbd / this.nHead,
      maxPositions: this.nPositions,
      maxPositionsKey: "n_positions",
      eosTokenIds: this.eosTokenIds,
      padTokenId: this.padTokenId,
    };
  }

  /** Width inside the MLP. */
  get innerSize(): number {
    return this.nInner ?? 4 * this.nEmbd;
  }

  /** Tokens that end a text; negative ids are none. */
  get eosTokenIds(): number[] {
    return [this.eosTokenId ?? []].flat().filter((id) => id >= 0);
  }
}

/**
 * The fields are properties of the class.
 *
 * @example
 * ```ts
 * import { GPT2Config } from "@peft/webgpu";
 *
 * const medium: GPT2Config = GPT2Config.fromJSON({ model_type: "gpt2", n_embd: 1024, n_head: 16, n_layer: 24 });
 * console.log(medium.nEmbd / medium.nHead, medium.tieWordEmbeddings); // 64 true
 * ```
 */
export interface GPT2Config extends GPT2ConfigFields {}
