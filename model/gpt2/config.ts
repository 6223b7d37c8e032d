/**
 * GPT-2's configuration: `config.json` in Hugging Face's names, camelCase in TypeScript.
 * @module
 */

import { type ActivationName, activations } from "../../nn/mod.ts";
import type { ModelConfig, ModelFacts } from "../facts.ts";

/** Fields of the configuration that change numbers; defaults are `transformers`' `GPT2Config`. */
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
  /** Added to variances; default 1e-5. */
  layerNormEpsilon: number;
  /** Standard deviation of initial weights; default 0.02. */
  initializerRange: number;
  /** Divide attention scores by the square root of the head size; default true. */
  scaleAttnWeights: boolean;
  /** Divide them by the block's number (from 1) too; default false. */
  scaleAttnByInverseLayerIdx: boolean;
  /** Compute scores in float32: always so here; kept for the file. */
  reorderAndUpcastAttn: boolean;
  /** Whether the head is the token embedding; default true. */
  tieWordEmbeddings: boolean;
  /** Token that starts a text; default 50256. */
  bosTokenId: number | null;
  /** Token, or tokens, that end a text; default 50256. */
  eosTokenId: number | number[] | null;
  /** Token that fills up rows; default null. */
  padTokenId: number | null;
}

const DEFAULTS: GPT2ConfigFields = {
  vocabSize: 50257,
  nPositions: 1024,
  nEmbd: 768,
  nLayer: 12,
  nHead: 12,
  nInner: null,
  activationFunction: "gelu_new",
  residPdrop: 0.1,
  embdPdrop: 0.1,
  attnPdrop: 0.1,
  layerNormEpsilon: 1e-5,
  initializerRange: 0.02,
  scaleAttnWeights: true,
  scaleAttnByInverseLayerIdx: false,
  reorderAndUpcastAttn: false,
  tieWordEmbeddings: true,
  bosTokenId: 50256,
  eosTokenId: 50256,
  padTokenId: null,
};

const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Refuses a value. */
function refuse(name: string, wanted: string, value: unknown): never {
  throw new RangeError(
    `Cannot configure GPT-2: ${snakeCase(name)} must be ${wanted}, received ${JSON.stringify(value)}`,
  );
}

/** Largest size a field may have: enough for any real model, small enough to refuse a bomb before allocation. */
const MAX_SIZE = 2 ** 24;

/** Greatest token id: ids are int32 on the device. */
const MAX_ID = 2 ** 31 - 1;

function check(fields: GPT2ConfigFields): void {
  const sizes = ["vocabSize", "nPositions", "nEmbd", "nLayer", "nHead"] as const;
  for (const name of sizes) {
    const value = fields[name];
    if (!Number.isInteger(value) || value < 1 || value > MAX_SIZE) refuse(name, "a positive integer", value);
  }
  if (fields.nLayer > 4096) refuse("nLayer", "at most 4096", fields.nLayer);
  const { nInner } = fields;
  if (nInner !== null && !(Number.isInteger(nInner) && nInner > 0 && nInner <= MAX_SIZE)) {
    refuse("nInner", "a positive integer or null", nInner);
  }
  for (const name of ["bosTokenId", "eosTokenId", "padTokenId"] as const) {
    const ids = [fields[name] ?? []].flat();
    const several = name === "eosTokenId" || !Array.isArray(fields[name]);
    if (!several || !ids.every((id) => Number.isInteger(id) && id >= -MAX_ID && id <= MAX_ID)) {
      refuse(name, "a token id", fields[name]);
    }
    if (ids.some((id) => id < 0)) { // as transformers: some models say -1 for none
      console.warn(`\`${snakeCase(name)}\` should be positive but got ${ids}: it is taken for none.`);
    }
  }
  for (const name of ["residPdrop", "embdPdrop", "attnPdrop"] as const) {
    if (!(fields[name] >= 0 && fields[name] <= 1)) refuse(name, "a number from 0 to 1", fields[name]);
  }
  for (const name of ["layerNormEpsilon", "initializerRange"] as const) {
    if (!(fields[name] > 0 && fields[name] < 10)) refuse(name, "a positive number", fields[name]);
  }
  if (!Object.hasOwn(activations, fields.activationFunction)) {
    refuse("activationFunction", `one of ${Object.keys(activations).join(", ")}`, fields.activationFunction);
  }
  if (fields.nEmbd % fields.nHead !== 0) {
    refuse("nEmbd", `a multiple of n_head ${fields.nHead}`, fields.nEmbd);
  }
  const flags = ["scaleAttnWeights", "scaleAttnByInverseLayerIdx", "tieWordEmbeddings"] as const;
  for (const name of flags) {
    if (typeof fields[name] !== "boolean") refuse(name, "true or false", fields[name]);
  }
}

/** A checked configuration. */
export class GPT2Config implements ModelConfig {
  /** Always "gpt2". */
  readonly modelType = "gpt2";
  /** Folder or hub id it came from; adapters record it. */
  nameOrPath: string | null = null;
  readonly #extra: Readonly<Record<string, unknown>>;

  /** Missing fields take `transformers`' defaults. @throws {RangeError} for a value that no GPT-2 can have */
  constructor(fields: Partial<GPT2ConfigFields> = {}, extra: Readonly<Record<string, unknown>> = {}) {
    const all = { ...DEFAULTS, ...fields };
    check(all);
    Object.assign(this, all);
    this.#extra = extra;
  }

  /** The configuration of a `config.json`; fields that change nothing here are kept for `toJSON()`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): GPT2Config {
    if (json.model_type !== undefined && json.model_type !== "gpt2") {
      throw new TypeError(
        `Cannot load the model: model_type must be "gpt2", received ${JSON.stringify(json.model_type)}`,
      );
    }
    if (json.add_cross_attention === true) {
      throw new TypeError("Cannot load the model: add_cross_attention must be false, received true");
    }
    const fields: Record<string, unknown> = {};
    const rest: Record<string, unknown> = { ...json };
    for (const name of Object.keys(DEFAULTS)) {
      const key = snakeCase(name);
      if (Object.hasOwn(json, key)) fields[name] = json[key];
      delete rest[key];
    }
    return new GPT2Config(fields as Partial<GPT2ConfigFields>, rest);
  }

  /** The fields of `config.json`. */
  toJSON(): Record<string, unknown> {
    const json: Record<string, unknown> = { architectures: ["GPT2LMHeadModel"], ...this.#extra };
    json.model_type = this.modelType;
    for (const name of Object.keys(DEFAULTS) as (keyof GPT2ConfigFields)[]) {
      json[snakeCase(name)] = this[name];
    }
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

/** The fields are properties of the class. */
export interface GPT2Config extends GPT2ConfigFields {}
