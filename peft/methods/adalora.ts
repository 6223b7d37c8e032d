/**
 * AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): LoRA in the form of a singular value decomposition, whose rank is
 * spread over the layers by importance while it trains.
 *   y = x W + b + s (drop(x) (A E)^T) B^T   with A [r, in], E [r, 1], B [out, r], s = alpha / (init_r + 1e-5)
 *   loss += orth_reg_weight mean over all A and B of |A A^T - I| and |B^T B - I| (Frobenius)
 * `peftModel.updateAndAllocate(step)` after `optimizer.step()` and before `zeroGrad()` sets the least important E to 0
 * by the budget of the step. Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../adapted_linear.ts";
import { makeAdaLoraAdapter } from "./adalora_layer.ts";
import {
  checkChoice,
  checkFiniteNumber,
  checkFlag,
  checkInteger,
  checkPatternTable,
  checkRank,
  checkTargets,
} from "../checks.ts";
import {
  COMMON_DEFAULTS,
  completeFields,
  configFromJSON,
  configToJSON,
  fieldsOf,
  type PeftConfig,
  type PeftConfigFields,
  refuseConfig,
} from "../config.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";
import type { PeftMethod } from "../method.ts";
import { RankAllocator } from "./rank_allocator.ts";

/** Which singular values of each layer are left, by `<path>.lora_E`. */
export type RankPattern = Readonly<Record<string, readonly boolean[]>>;

/** Fields of an AdaLoRA configuration. */
export interface AdaLoraConfigFields extends PeftConfigFields {
  /** Ranks left at the end, on average over the layers; default 8. */
  targetR: number;
  /** Rank of every layer at the start; default 12. */
  initR: number;
  /** Steps before the budget falls; default 0. */
  tinit: number;
  /** Steps at the end with the budget at its target; default 0. */
  tfinal: number;
  /** Steps between two allocations; default 1. */
  deltaT: number;
  /** Smoothing of importance; default 0.85. */
  beta1: number;
  /** Smoothing of its uncertainty; default 0.85. */
  beta2: number;
  /** Weight of the orthogonality loss; default 0.5. */
  orthRegWeight: number;
  /** Steps of the whole training; required. */
  totalStep: number | null;
  /** What is left of each layer; written by training, default null: everything. */
  rankPattern: RankPattern | null;
  /** Not used, as in `peft`: `initR` is the rank. Default 8. */
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
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** true: A and B from N(0, 0.02), E zero. false: all from N(0, 1), for tests. Default true. */
  initLoraWeights: boolean;
  /** Numbers of the blocks to adapt; null for all. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h"; default null. */
  layersPattern: string | readonly string[] | null;
  /** Whether weights are stored [in, out]; told from the module. */
  fanInFanOut: boolean;
}

const DEFAULTS: AdaLoraConfigFields = {
  ...COMMON_DEFAULTS,
  targetR: 8,
  initR: 12,
  tinit: 0,
  tfinal: 0,
  deltaT: 1,
  beta1: 0.85,
  beta2: 0.85,
  orthRegWeight: 0.5,
  totalStep: null,
  rankPattern: null,
  r: 8,
  loraAlpha: 8,
  loraDropout: 0,
  targetModules: null,
  excludeModules: null,
  bias: "none",
  modulesToSave: null,
  initLoraWeights: true,
  layersToTransform: null,
  layersPattern: null,
  fanInFanOut: false,
};

/** Fields of LoRA that `peft` writes here too. */
const FIXED: Readonly<Record<string, unknown>> = {
  alora_invocation_tokens: null,
  alpha_pattern: {},
  arrow_config: null,
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  kasa_config: null,
  layer_replication: null,
  loftq_config: {},
  lora_bias: false,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: false,
  use_qalora: false,
  use_rslora: false,
  velora_config: null,
};

function check(fields: AdaLoraConfigFields): void {
  const refuse = (message: string) => refuseConfig("adalora", message);
  checkTargets("adalora", fields);
  checkRank("adalora", "init_r", fields.initR);
  checkInteger("adalora", "target_r", fields.targetR, 0);
  checkInteger("adalora", "tinit", fields.tinit, 0);
  checkInteger("adalora", "tfinal", fields.tfinal, 0);
  checkInteger("adalora", "deltaT", fields.deltaT, 1);
  checkFiniteNumber("adalora", "lora_alpha", fields.loraAlpha, 0);
  checkFiniteNumber("adalora", "lora_dropout", fields.loraDropout, 0, 1);
  checkChoice("adalora", "bias", fields.bias, ["none", "all", "lora_only"]);
  checkFlag("adalora", "init_lora_weights", fields.initLoraWeights);
  checkFlag("adalora", "fan_in_fan_out", fields.fanInFanOut);
  for (const [name, beta] of [["beta1", fields.beta1], ["beta2", fields.beta2]] as const) {
    if (!(beta > 0 && beta < 1)) refuse(`${name} must be a number above 0 and below 1, received ${beta}`);
  }
  if (fields.totalStep === null || !Number.isInteger(fields.totalStep) || fields.totalStep <= 0) {
    refuse("AdaLoRA does not work when `total_step` is None, supply a value > 0.");
  }
  if (!(fields.orthRegWeight >= 0 && Number.isFinite(fields.orthRegWeight))) {
    refuse(
      `\`orth_reg_weight\` should be greater than or equal to 0, but the value passed is ${fields.orthRegWeight}`,
    );
  }
  if (fields.tinit >= fields.totalStep! - fields.tfinal) {
    refuse(
      "The supplied schedule values don't allow for a budgeting phase. Decrease `tfinal`/`tinit` or increase `total_step`.",
    );
  }
  if (fields.rankPattern !== null) checkPatternTable("adalora", "rank_pattern", fields.rankPattern);
  for (const [path, mask] of Object.entries(fields.rankPattern ?? {})) {
    const fits = Array.isArray(mask) && mask.length === fields.initR &&
      mask.every((left) => typeof left === "boolean");
    if (!fits) refuse(`rank_pattern of "${path}" must be ${fields.initR} (init_r) times true or false`);
  }
}

/** An AdaLoRA configuration, with Hugging Face's fields and defaults. */
export class AdaLoraConfig implements PeftConfig {
  /** "ADALORA". */
  readonly peftType = "ADALORA";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<AdaLoraConfigFields> = {}) {
    const all = completeFields("adalora", fields, DEFAULTS);
    check(all);
    if (all.r !== DEFAULTS.r) {
      console.warn("`r` is not used in AdaLora and will be ignored. Use `initR` for the initial rank.");
    }
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. @throws {RangeError} for an option that is not supported */
  static fromJSON(json: Readonly<Record<string, unknown>>): AdaLoraConfig {
    return new AdaLoraConfig(configFromJSON("adalora", json, DEFAULTS, FIXED));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return configToJSON("ADALORA", fieldsOf<AdaLoraConfigFields>(this, DEFAULTS), FIXED);
  }
}

/** The fields are properties of the class. */
export interface AdaLoraConfig extends AdaLoraConfigFields {}

/** AdaLoRA, for the registry. */
export const adalora: PeftMethod<AdaLoraConfig> = {
  name: "adalora",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn"] : null,
  configFromJSON: (json) => AdaLoraConfig.fromJSON(json),
  conflict: (config, others) =>
    config.inferenceMode || others.every((other) => other.inferenceMode)
      ? null
      : "AdaLoraModel supports only 1 trainable adapter. When using multiple adapters, set inference_mode to True for all adapters except the one you want to train.",
  companion: (config) => new RankAllocator(config),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeAdaLoraAdapter),
  linear: makeAdaLoraAdapter,
};
