/**
 * The configuration of LoRA, with the fields and defaults of Hugging Face's `peft` 0.21.
 * @module
 */

import {
  checkFiniteNumber,
  checkFlag,
  checkLayers,
  checkNames,
  checkPatternTable,
  checkTokenIndices,
} from "../checks.ts";
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
import type { TokenIndices } from "./token_adapter.ts";
import { completeEva, type EvaConfig, evaFromJSON, evaToJSON } from "./eva_config.ts";
import { checkInit, isNamedInit, type LoraInit } from "./lora_init.ts";

/** Fields of a LoRA configuration. */
export interface LoraConfigFields extends PeftConfigFields {
  /** Rank; default 8. */
  r: number;
  /** Numerator of the scaling; default 8. */
  loraAlpha: number;
  /** Dropout of the adapter's input while training; default 0. */
  loraDropout: number;
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Modules to leave out of those; same forms, default null. */
  excludeModules: readonly string[] | string | null;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "lora_only";
  /** Scale by alpha / sqrt(r) instead of alpha / r; default false. */
  useRslora: boolean;
  /** Train the length of each output column of the weight apart (DoRA); default false. */
  useDora: boolean;
  /**
   * Tokens whose rows of the embedding train: ids of the input embedding, or `{ wte: ids, wpe: ids }`. A tied head uses the
   * same rows. Default null.
   */
  trainableTokenIndices: TokenIndices | null;
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** Initial values of A and B, see `LoraInit`; default true. */
  initLoraWeights: LoraInit;
  /** Options of the start "eva"; default null: its defaults. */
  evaConfig: EvaConfig | null;
  /** Give B a bias that trains; with initLoraWeights true or false alone, without DoRA, not on embeddings. Default false. */
  loraBias: boolean;
  /** Numbers of the blocks to adapt; null for all. With a list of targets alone. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h", where it cannot be told from the path; default null. */
  layersPattern: string | readonly string[] | null;
  /** Ranks of modules whose name matches a pattern; default {}. */
  rankPattern: Readonly<Record<string, number>>;
  /** Alphas of modules whose name matches a pattern; default {}. */
  alphaPattern: Readonly<Record<string, number>>;
  /** Whether weights are stored [in, out]; told from the module, and written to the file as found. */
  fanInFanOut: boolean;
}

/** What a LoRA configuration is made of: any of its fields, and any of EVA's options. */
export type LoraConfigInput = Partial<Omit<LoraConfigFields, "evaConfig">> & {
  evaConfig?: Partial<EvaConfig> | null;
};

const DEFAULTS: LoraConfigFields = {
  ...COMMON_DEFAULTS,
  r: 8,
  loraAlpha: 8,
  loraDropout: 0,
  targetModules: null,
  excludeModules: null,
  bias: "none",
  useRslora: false,
  useDora: false,
  modulesToSave: null,
  trainableTokenIndices: null,
  initLoraWeights: true,
  evaConfig: null,
  loraBias: false,
  layersToTransform: null,
  layersPattern: null,
  rankPattern: {},
  alphaPattern: {},
  fanInFanOut: false,
};

/** Fields of the file that ask for nothing here, with the values `peft` writes then. */
const FIXED: Readonly<Record<string, unknown>> = {
  alora_invocation_tokens: null,
  arrow_config: null,
  corda_config: null,
  ensure_weight_tying: false,
  kasa_config: null,
  layer_replication: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
};

/** Fields of FIXED that mean nothing unless another one is set. */
const IDLE_FIELDS = ["megatron_core", "qalora_group_size"];

const isRank = (value: unknown): boolean => Number.isInteger(value) && (value as number) > 0;

function check(fields: LoraConfigFields): void {
  const refuse = (message: string) => refuseConfig("lora", message);
  checkCommon("lora", fields);
  checkNames("lora", "target_modules", fields.targetModules, true);
  checkNames("lora", "exclude_modules", fields.excludeModules, true);
  checkNames("lora", "modules_to_save", fields.modulesToSave, false);
  checkNames("lora", "layers_pattern", fields.layersPattern, true);
  checkTokenIndices("lora", "trainable_token_indices", fields.trainableTokenIndices, true);
  checkLayers("lora", "layers_to_transform", fields.layersToTransform);
  checkFlag("lora", "use_rslora", fields.useRslora);
  checkFlag("lora", "use_dora", fields.useDora);
  checkFlag("lora", "lora_bias", fields.loraBias);
  checkFlag("lora", "fan_in_fan_out", fields.fanInFanOut);
  checkPatternTable("lora", "rank_pattern", fields.rankPattern);
  checkPatternTable("lora", "alpha_pattern", fields.alphaPattern);
  if (!isRank(fields.r)) {
    refuse(`\`r\` should be a positive integer value but the value passed is ${fields.r}`);
  }
  for (const [pattern, rank] of Object.entries(fields.rankPattern)) {
    if (!isRank(rank)) refuse(`rank_pattern of "${pattern}" should be a positive integer, received ${rank}`);
  }
  checkFiniteNumber("lora", "lora_alpha", fields.loraAlpha, 0);
  for (const [pattern, alpha] of Object.entries(fields.alphaPattern)) {
    checkFiniteNumber("lora", `alpha_pattern of "${pattern}"`, alpha, 0);
  }
  checkFiniteNumber("lora", "lora_dropout", fields.loraDropout, 0, 1);
  if (!["none", "all", "lora_only"].includes(fields.bias)) {
    refuse(`bias must be "none", "all" or "lora_only", received "${fields.bias}"`);
  }
  checkInit(fields.initLoraWeights, fields.r);
  if (fields.loraBias && isNamedInit(fields.initLoraWeights)) {
    refuse(
      `The argument lora_bias=True is only supported with init_lora_weights=True or False, got init_lora_weights=${fields.initLoraWeights} instead.`,
    );
  }
  if (fields.loraBias && fields.useDora) {
    refuse("The argument lora_bias=True is not supported for DoRA, please pass use_dora=False");
  }
  if (fields.layersToTransform !== null && typeof fields.targetModules === "string") {
    refuse("`layers_to_transform` cannot be used when `target_modules` is a str.");
  }
  if (fields.layersPattern !== null && fields.layersToTransform === null) {
    refuse("When `layers_pattern` is specified, `layers_to_transform` must also be specified.");
  }
}

/** A LoRA configuration, with Hugging Face's fields and defaults. */
export class LoraConfig implements PeftConfig {
  /** "LORA". */
  readonly peftType = "LORA";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: LoraConfigInput = {}) {
    const known = Object.keys(DEFAULTS);
    const unknown = Object.keys(fields).filter((name) => !known.includes(name));
    const absent = unknown.find((name) => Object.hasOwn(FIXED, snakeCase(name)));
    if (absent) {
      const received = JSON.stringify(fields[absent as keyof typeof fields]);
      refuseConfig("lora", `${snakeCase(absent)} is not supported, received ${received}`);
    }
    if (unknown.length > 0) {
      refuseConfig("lora", `fields are ${known.join(", ")}, received ${unknown.join(", ")}`);
    }
    const given = fields.evaConfig ?? (fields.initLoraWeights === "eva" ? {} : null);
    const all = { ...DEFAULTS, ...fields, evaConfig: completeEva(given) };
    check(all);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. @throws {RangeError} for an option that is not supported */
  static fromJSON(json: Readonly<Record<string, unknown>>): LoraConfig {
    const active = Object.entries(json).filter(([key]) => !IDLE_FIELDS.includes(key));
    const fields = configFromJSON("lora", Object.fromEntries(active), DEFAULTS, FIXED);
    return new LoraConfig({
      ...fields,
      evaConfig: evaFromJSON(fields.evaConfig ?? null) as EvaConfig | null,
    });
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    const names = Object.keys(DEFAULTS) as (keyof LoraConfigFields)[];
    const fields = Object.fromEntries(names.map((name) => [name, this[name]]));
    return configToJSON("LORA", { ...fields, evaConfig: evaToJSON(this.evaConfig) }, FIXED);
  }
}

/** The fields are properties of the class. */
export interface LoraConfig extends LoraConfigFields {}
