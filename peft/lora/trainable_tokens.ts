/**
 * Trainable tokens (`peft`'s TRAINABLE_TOKENS): chosen rows of the embedding train, nothing else; a tied head uses them
 * too. Beside another method the same is LoRA's `trainableTokenIndices`.
 * @module
 */

import { checkFlag, checkNames, checkTokenIndices } from "../checks.ts";
import {
  checkCommon,
  COMMON_DEFAULTS,
  completeFields,
  configFromJSON,
  configToJSON,
  type PeftConfig,
  type PeftConfigFields,
} from "../config.ts";
import { Embedding, type Module } from "../../nn/mod.ts";
import type { PeftMethod } from "../method.ts";
import { TrainableTokensLayer } from "./trainable_tokens_layer.ts";

/** Fields of a trainable tokens configuration. */
export interface TrainableTokensConfigFields extends PeftConfigFields {
  /** Ids of the tokens; required. */
  tokenIndices: readonly number[];
  /** Embeddings: names, a regular expression, or null for the model's input embedding. */
  targetModules: readonly string[] | string | null;
  /** Start from the base's rows; default true. Otherwise from normal numbers. */
  initWeights: boolean;
}

const DEFAULTS: TrainableTokensConfigFields = {
  ...COMMON_DEFAULTS,
  tokenIndices: [],
  targetModules: null,
  initWeights: true,
};

/** A trainable tokens configuration, with Hugging Face's fields and defaults. */
export class TrainableTokensConfig implements PeftConfig {
  /** "TRAINABLE_TOKENS". */
  readonly peftType = "TRAINABLE_TOKENS";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<TrainableTokensConfigFields> = {}) {
    const all = completeFields("trainable tokens", fields, DEFAULTS);
    checkCommon("trainable tokens", all);
    checkTokenIndices("trainable tokens", "token_indices", all.tokenIndices, false);
    checkNames("trainable tokens", "target_modules", all.targetModules, true);
    checkFlag("trainable tokens", "init_weights", all.initWeights);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. @throws {RangeError} for an option that is not supported */
  static fromJSON(json: Readonly<Record<string, unknown>>): TrainableTokensConfig {
    return new TrainableTokensConfig(configFromJSON("trainable tokens", json, DEFAULTS, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    const names = Object.keys(DEFAULTS) as (keyof TrainableTokensConfigFields)[];
    return configToJSON("TRAINABLE_TOKENS", Object.fromEntries(names.map((name) => [name, this[name]])), {});
  }
}

/** The fields are properties of the class. */
export interface TrainableTokensConfig extends TrainableTokensConfigFields {}

/** Path of the first embedding of the model, or null. */
function inputEmbedding(model: Module): string | null {
  const found = [...model.namedModules()].find(([, module]) =>
    module instanceof Embedding || module instanceof TrainableTokensLayer
  );
  return found?.[0] ?? null;
}

/** Trainable tokens, for the registry. */
export const trainableTokens: PeftMethod<TrainableTokensConfig> = {
  name: "trainable tokens",
  defaultTargets: () => null,
  resolve: ({ targetModules }, _modelType, model) => ({
    targetModules: targetModules ?? inputEmbedding(model),
  }),
  configFromJSON: (json) => TrainableTokensConfig.fromJSON(json),
  supports: (module) => module instanceof Embedding || module instanceof TrainableTokensLayer,
  wrap: (module, state) => new TrainableTokensLayer(module as Embedding, state),
};
