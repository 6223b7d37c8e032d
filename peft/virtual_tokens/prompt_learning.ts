/**
 * Prefix tuning (Li and Liang 2021, arXiv:2101.00190), prompt tuning (Lester et al. 2021, arXiv:2104.08691) and P-tuning
 * (Liu et al. 2021, arXiv:2103.10385): virtual tokens before every row. A prefix gives keys and values to each layer; the
 * other two give embeddings. Fields, defaults and files are those of Hugging Face's `peft` 0.21.
 * @module
 */

import {
  checkCommon,
  COMMON_DEFAULTS,
  configFromJSON,
  configToJSON,
  type PeftConfig,
  type PeftConfigFields,
  refuseConfig,
  snakeCase,
} from "../config.ts";
import { checkFiniteNumber, checkFlag, checkInteger } from "../checks.ts";

/** Fields of every prompt learning configuration; null ones are taken from the model. */
export interface PromptLearningFields extends PeftConfigFields {
  /** Number of virtual tokens. */
  numVirtualTokens: number;
  /** Width of the model. */
  tokenDim: number | null;
  /** 1 for models with a decoder alone. */
  numTransformerSubmodules: number | null;
  /** Attention heads of the model. */
  numAttentionHeads: number | null;
  /** Blocks of the model. */
  numLayers: number | null;
  /** Not supported with virtual tokens: null. */
  modulesToSave: readonly string[] | null;
}

/** Fields of prefix tuning. */
export interface PrefixTuningConfigFields extends PromptLearningFields {
  /** "zero" starts from zero keys and values (not a no-op: they take attention); null from N(0, 1). */
  initWeights: "zero" | null;
  /** Width of the network; null: the model's. */
  encoderHiddenSize: number | null;
  /** Put a network of two layers behind the table; default false. */
  prefixProjection: boolean;
}

/** Fields of prompt tuning. */
export interface PromptTuningConfigFields extends PromptLearningFields {
  /** "RANDOM": N(0, 1). "SAMPLE_VOCAB": embeddings of random tokens. "TEXT": embeddings of a text's tokens. */
  promptTuningInit: "RANDOM" | "SAMPLE_VOCAB" | "TEXT";
  /** The text of "TEXT". */
  promptTuningInitText: string | null;
  /** Tokenizer of "TEXT", for the file; `getPeftModel(..., { encode })` gives the tokens. */
  tokenizerNameOrPath: string | null;
  /** Options of that tokenizer, for the file. */
  tokenizerKwargs: Readonly<Record<string, unknown>> | null;
}

/** Fields of P-tuning. */
export interface PromptEncoderConfigFields extends PromptLearningFields {
  /** The network behind the table: three linear layers, or a bidirectional LSTM and two; default "MLP". */
  encoderReparameterizationType: "MLP" | "LSTM";
  /** Width of the network; null: the model's. */
  encoderHiddenSize: number | null;
  /** Layers of the LSTM. */
  encoderNumLayers: number;
  /** Dropout of the LSTM. */
  encoderDropout: number;
}

const COMMON: PromptLearningFields = {
  ...COMMON_DEFAULTS,
  numVirtualTokens: 0,
  tokenDim: null,
  numTransformerSubmodules: null,
  numAttentionHeads: null,
  numLayers: null,
  modulesToSave: null,
};

const PREFIX: PrefixTuningConfigFields = {
  ...COMMON,
  initWeights: null,
  encoderHiddenSize: null,
  prefixProjection: false,
};

const PROMPT: PromptTuningConfigFields = {
  ...COMMON,
  promptTuningInit: "RANDOM",
  promptTuningInitText: null,
  tokenizerNameOrPath: null,
  tokenizerKwargs: null,
};

const P_TUNING: PromptEncoderConfigFields = {
  ...COMMON,
  encoderReparameterizationType: "MLP",
  encoderHiddenSize: null,
  encoderNumLayers: 2,
  encoderDropout: 0,
};

/** Every field, after the checks that all three methods share. */
function checked<Fields extends PromptLearningFields>(
  method: string,
  defaults: Fields,
  given: Partial<Fields>,
): Fields {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(defaults, name));
  if (unknown.length > 0) {
    refuseConfig(method, `fields are ${Object.keys(defaults).join(", ")}, received ${unknown.join(", ")}`);
  }
  const fields = { ...defaults, ...given };
  checkCommon(method, fields);
  if (!Number.isInteger(fields.numVirtualTokens) || fields.numVirtualTokens < 1) {
    refuseConfig(
      method,
      `num_virtual_tokens must be a positive integer, received ${fields.numVirtualTokens}`,
    );
  }
  for (const name of ["tokenDim", "numTransformerSubmodules", "numAttentionHeads", "numLayers"] as const) {
    const value = fields[name];
    if (value !== null) checkInteger(method, snakeCase(name), value, 1);
  }
  if (fields.modulesToSave !== null) {
    refuseConfig(
      method,
      `modules_to_save is not supported with virtual tokens, received ${
        JSON.stringify(fields.modulesToSave)
      }`,
    );
  }
  return fields;
}

function toFile(peftType: string, defaults: object, config: object): Record<string, unknown> {
  const values = config as Record<string, unknown>;
  return configToJSON(
    peftType,
    Object.fromEntries(Object.keys(defaults).map((name) => [name, values[name]])),
    {},
  );
}

/** Fails for a width of the encoder that no layer can have; null is the model's. */
function checkHiddenSize(method: string, size: number | null): void {
  if (size !== null) checkInteger(method, "encoder_hidden_size", size, 1);
}

/** A prefix tuning configuration, with Hugging Face's fields and defaults. */
export class PrefixTuningConfig implements PeftConfig {
  /** "PREFIX_TUNING". */
  readonly peftType = "PREFIX_TUNING";

  /**
   * Missing fields take `peft`'s defaults.
   * @throws {RangeError} for a value outside its range, or without `numVirtualTokens`
   */
  constructor(fields: Partial<PrefixTuningConfigFields>) {
    const all = checked("prefix_tuning", PREFIX, fields);
    if (all.initWeights !== null && all.initWeights !== "zero") {
      refuseConfig("prefix_tuning", `init_weights must be "zero" or null, received "${all.initWeights}"`);
    }
    checkFlag("prefix_tuning", "prefix_projection", all.prefixProjection);
    checkHiddenSize("prefix_tuning", all.encoderHiddenSize);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): PrefixTuningConfig {
    return new PrefixTuningConfig(configFromJSON("prefix_tuning", json, PREFIX, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return toFile(this.peftType, PREFIX, this);
  }
}

/** The fields are properties of the class. */
export interface PrefixTuningConfig extends PrefixTuningConfigFields {}

/** A prompt tuning configuration, with Hugging Face's fields and defaults. */
export class PromptTuningConfig implements PeftConfig {
  /** "PROMPT_TUNING". */
  readonly peftType = "PROMPT_TUNING";

  /**
   * Missing fields take `peft`'s defaults.
   * @throws {RangeError} for a value outside its range, or without `numVirtualTokens`
   */
  constructor(fields: Partial<PromptTuningConfigFields>) {
    const all = checked("prompt_tuning", PROMPT, fields);
    if (!["RANDOM", "SAMPLE_VOCAB", "TEXT"].includes(all.promptTuningInit)) {
      refuseConfig(
        "prompt_tuning",
        `prompt_tuning_init must be "RANDOM", "SAMPLE_VOCAB" or "TEXT", received "${all.promptTuningInit}"`,
      );
    }
    for (const name of ["promptTuningInitText", "tokenizerNameOrPath"] as const) {
      if (all[name] === null || typeof all[name] === "string") continue;
      refuseConfig(
        "prompt_tuning",
        `${snakeCase(name)} must be a string or null, received ${JSON.stringify(all[name])}`,
      );
    }
    const { tokenizerKwargs } = all;
    if (typeof tokenizerKwargs !== "object" || Array.isArray(tokenizerKwargs)) {
      refuseConfig(
        "prompt_tuning",
        `tokenizer_kwargs must be a table or null, received ${JSON.stringify(tokenizerKwargs)}`,
      );
    }
    if (all.promptTuningInit === "TEXT" && !all.tokenizerNameOrPath) {
      refuseConfig("prompt_tuning", `tokenizer_name_or_path can't be None when prompt_tuning_init is "TEXT"`);
    }
    if (all.promptTuningInit === "TEXT" && !all.promptTuningInitText) {
      refuseConfig(
        "prompt_tuning",
        `prompt_tuning_init_text can't be None when prompt_tuning_init is "TEXT"`,
      );
    }
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): PromptTuningConfig {
    return new PromptTuningConfig(configFromJSON("prompt_tuning", json, PROMPT, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return toFile(this.peftType, PROMPT, this);
  }
}

/** The fields are properties of the class. */
export interface PromptTuningConfig extends PromptTuningConfigFields {}

/** A P-tuning configuration, with Hugging Face's fields and defaults. */
export class PromptEncoderConfig implements PeftConfig {
  /** "P_TUNING". */
  readonly peftType = "P_TUNING";

  /**
   * Missing fields take `peft`'s defaults.
   * @throws {RangeError} for a value outside its range, or without `numVirtualTokens`
   */
  constructor(fields: Partial<PromptEncoderConfigFields>) {
    const all = checked("p_tuning", P_TUNING, fields);
    if (!["MLP", "LSTM"].includes(all.encoderReparameterizationType)) {
      refuseConfig(
        "p_tuning",
        `encoder_reparameterization_type must be "MLP" or "LSTM", received "${all.encoderReparameterizationType}"`,
      );
    }
    if (!Number.isInteger(all.encoderNumLayers) || all.encoderNumLayers < 1) {
      refuseConfig(
        "p_tuning",
        `encoder_num_layers must be a positive integer, received ${all.encoderNumLayers}`,
      );
    }
    checkFiniteNumber("p_tuning", "encoder_dropout", all.encoderDropout, 0, 1);
    checkHiddenSize("p_tuning", all.encoderHiddenSize);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): PromptEncoderConfig {
    return new PromptEncoderConfig(configFromJSON("p_tuning", json, P_TUNING, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return toFile(this.peftType, P_TUNING, this);
  }
}

/** The fields are properties of the class. */
export interface PromptEncoderConfig extends PromptEncoderConfigFields {}

/** A configuration of virtual tokens. */
export type PromptLearningConfig = PrefixTuningConfig | PromptTuningConfig | PromptEncoderConfig;

/** Readers of the three methods' files, by their names in files. */
export const promptLearningConfigs: Readonly<
  Record<PromptLearningConfig["peftType"], (json: Readonly<Record<string, unknown>>) => PromptLearningConfig>
> = {
  PREFIX_TUNING: (json) => PrefixTuningConfig.fromJSON(json),
  PROMPT_TUNING: (json) => PromptTuningConfig.fromJSON(json),
  P_TUNING: (json) => PromptEncoderConfig.fromJSON(json),
};

/** Whether a configuration is one of virtual tokens. */
export function isPromptLearning(config: PeftConfig): config is PromptLearningConfig {
  return Object.hasOwn(promptLearningConfigs, config.peftType);
}
