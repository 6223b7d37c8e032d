/**
 * VeRA (Kopiczko et al. 2024, arXiv:2310.11454): two random matrices that all layers share, and two trained vectors a layer.
 *   y = x W + b + lambda_b ((drop(x) A^T lambda_d) B^T)   with A [r, in], B [out, r] frozen
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21; A and B are the numbers PyTorch
 * draws, so a file without them (`saveProjection: false`) loads.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../adapted_linear.ts";
import {
  checkChoice,
  checkFiniteNumber,
  checkFlag,
  checkInteger,
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
} from "../config.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";
import type { PeftMethod } from "../method.ts";
import { makeVeraAdapter, VeraProjections } from "./vera_layer.ts";

/** Fields of a VeRA configuration. */
export interface VeraConfigFields extends PeftConfigFields {
  /** Rank; default 256. */
  r: number;
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Seed of A and B; default 0. */
  projectionPrngKey: number;
  /** Whether A and B are in the file; default true. */
  saveProjection: boolean;
  /** Dropout of the adapter's input while training; default 0. */
  veraDropout: number;
  /** Where lambda_d starts; default 0.1. */
  dInitial: number;
  /** Whether weights are stored [in, out]; told from the module. */
  fanInFanOut: boolean;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "vera_only";
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** true: lambda_b zero, lambda_d `dInitial`. false: ones and N(0, 1), for tests. Default true. */
  initWeights: boolean;
  /** Numbers of the blocks to adapt; null for all. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h"; default null. */
  layersPattern: string | readonly string[] | null;
}

const DEFAULTS: VeraConfigFields = {
  ...COMMON_DEFAULTS,
  r: 256,
  targetModules: null,
  projectionPrngKey: 0,
  saveProjection: true,
  veraDropout: 0,
  dInitial: 0.1,
  fanInFanOut: false,
  bias: "none",
  modulesToSave: null,
  initWeights: true,
  layersToTransform: null,
  layersPattern: null,
};

/** A VeRA configuration, with Hugging Face's fields and defaults. */
export class VeraConfig implements PeftConfig {
  /** "VERA". */
  readonly peftType = "VERA";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<VeraConfigFields> = {}) {
    const all = completeFields("vera", fields, DEFAULTS);
    checkTargets("vera", all);
    checkRank("vera", "r", all.r);
    checkInteger("vera", "projection_prng_key", all.projectionPrngKey, 0);
    checkFlag("vera", "save_projection", all.saveProjection);
    checkFiniteNumber("vera", "vera_dropout", all.veraDropout, 0, 1);
    checkFiniteNumber("vera", "d_initial", all.dInitial, -Infinity);
    checkFlag("vera", "fan_in_fan_out", all.fanInFanOut);
    checkChoice("vera", "bias", all.bias, ["none", "all", "vera_only"]);
    checkFlag("vera", "init_weights", all.initWeights);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): VeraConfig {
    return new VeraConfig(configFromJSON("vera", json, DEFAULTS, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return configToJSON("VERA", fieldsOf<VeraConfigFields>(this, DEFAULTS), {});
  }
}

/** The fields are properties of the class. */
export interface VeraConfig extends VeraConfigFields {}

/** Why an adapter cannot stand beside others: all draw the same projections. */
function conflict(config: VeraConfig, others: readonly VeraConfig[]): string | null {
  const { projectionPrngKey: key, saveProjection } = config;
  const other = others.find((other) => other.projectionPrngKey !== key);
  if (other) {
    return `Vera PRNG initialisation key must be the same for all adapters. Got config.projection_prng_key=${key} but previous config had ${other.projectionPrngKey}.`;
  }
  return others.every((other) => other.saveProjection === saveProjection)
    ? null
    : "VeRA projection weights must be saved for all adapters or none, but got multiple different values: [False, True]";
}

/** VeRA, for the registry. */
export const vera: PeftMethod<VeraConfig> = {
  name: "vera",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn"] : null,
  configFromJSON: (json) => VeraConfig.fromJSON(json),
  conflict,
  companion: (config, targets, { device }) => new VeraProjections(config, targets, device),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeVeraAdapter),
  linear: makeVeraAdapter,
};
