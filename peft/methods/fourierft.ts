/**
 * FourierFT (Gao et al. 2024, arXiv:2405.03003): the change of a weight is the inverse Fourier transform of a spectrum with
 * few trained entries c_k at random places (p_k, q_k).
 *   dW[p, q] = scaling / (out in) sum_k c_k cos(2 pi (p_k p / out + q_k q / in));   y = x (W + dW^T) + b
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21. Places are not in the file: they come
 * from PyTorch's generator and `randomLocSeed`.
 * @module
 */

import type { Conv1D, Linear } from "../../nn/mod.ts";
import { AdaptedLinear, isLinearTarget } from "../adapted_linear.ts";
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
} from "../config.ts";
import { FourierTables, makeFourierAdapter } from "./fourierft_layer.ts";
import type { PeftMethod } from "../method.ts";

/** Fields of a FourierFT configuration. */
export interface FourierFTConfigFields extends PeftConfigFields {
  /** Trained entries of each layer's spectrum; default 1000. */
  nFrequency: number;
  /** Factor of the change; default 150. */
  scaling: number;
  /** Seed of the entries' places; default 777. */
  randomLocSeed: number;
  /** Whether weights are stored [in, out]; told from the module. */
  fanInFanOut: boolean;
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Modules to leave out of those; same forms, default null. */
  excludeModules: readonly string[] | string | null;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "fourier_only";
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** Numbers of the blocks to adapt; null for all. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h"; default null. */
  layersPattern: string | readonly string[] | null;
  /** Entries of modules whose name ends, after a dot, in what matches a pattern; default {}. */
  nFrequencyPattern: Readonly<Record<string, number>>;
  /** false (default): entries from N(0, 1). true: zeros, so that a fresh adapter changes nothing. */
  initWeights: boolean;
}

const DEFAULTS: FourierFTConfigFields = {
  ...COMMON_DEFAULTS,
  nFrequency: 1000,
  scaling: 150,
  randomLocSeed: 777,
  fanInFanOut: false,
  targetModules: null,
  excludeModules: null,
  bias: "none",
  modulesToSave: null,
  layersToTransform: null,
  layersPattern: null,
  nFrequencyPattern: {},
  initWeights: false,
};

/** A FourierFT configuration, with Hugging Face's fields and defaults. */
export class FourierFTConfig implements PeftConfig {
  /** "FOURIERFT". */
  readonly peftType = "FOURIERFT";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<FourierFTConfigFields> = {}) {
    const all = completeFields("fourierft", fields, DEFAULTS);
    checkTargets("fourierft", all);
    checkRank("fourierft", "n_frequency", all.nFrequency);
    checkPatternTable("fourierft", "n_frequency_pattern", all.nFrequencyPattern);
    for (const [pattern, n] of Object.entries(all.nFrequencyPattern)) {
      checkRank("fourierft", `n_frequency_pattern of "${pattern}"`, n);
    }
    checkFiniteNumber("fourierft", "scaling", all.scaling, -Infinity);
    checkInteger("fourierft", "random_loc_seed", all.randomLocSeed, 0);
    checkFlag("fourierft", "fan_in_fan_out", all.fanInFanOut);
    checkChoice("fourierft", "bias", all.bias, ["none", "all", "fourier_only"]);
    checkFlag("fourierft", "init_weights", all.initWeights);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): FourierFTConfig {
    return new FourierFTConfig(configFromJSON("fourierft", json, DEFAULTS, {}));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return configToJSON("FOURIERFT", fieldsOf<FourierFTConfigFields>(this, DEFAULTS), {});
  }
}

/** The fields are properties of the class. */
export interface FourierFTConfig extends FourierFTConfigFields {}

/** FourierFT, for the registry. */
export const fourierft: PeftMethod<FourierFTConfig> = {
  name: "fourierft",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["mlp.c_proj"] : null,
  configFromJSON: (json) => FourierFTConfig.fromJSON(json),
  companion: (config, _targets, { device }) => new FourierTables(config.randomLocSeed, device),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeFourierAdapter),
  linear: makeFourierAdapter,
};
