/**
 * BOFT (Liu et al. 2024, arXiv:2311.06243): OFT with butterfly factors, each of which mixes features twice as far apart as
 * the one before, and a trained scale of every output.
 *   y = s ((x M) W) + b,   M = M_f … M_1 M_0,   M_i = P_i diag(R_i1, …, R_iD) P_i^T,   R = (I - S) (I + S)^-1
 * with S the skew-symmetric part of the entries. Fields, defaults, initial values and keys are those of Hugging Face's
 * `peft` 0.21, whose own does not take GPT-2's Conv1D, and has only one factor where its CUDA extension is missing: here
 * both work.
 * @module
 */

import type { Conv1D, Linear } from "../../nn/mod.ts";
import { AdaptedLinear, isLinearTarget } from "../adapted_linear.ts";
import { makeBoftAdapter } from "./boft_layer.ts";
import { checkChoice, checkFiniteNumber, checkFlag, checkInteger, checkTargets } from "../checks.ts";
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
import type { PeftMethod } from "../method.ts";

/** Fields of a BOFT configuration. */
export interface BOFTConfigFields extends PeftConfigFields {
  /** Size of a block; default 4. One of this and `boftBlockNum` is 0. */
  boftBlockSize: number;
  /** Number of blocks; default 0: by `boftBlockSize`. */
  boftBlockNum: number;
  /** Number of butterfly factors; default 1: block-diagonal as in OFT. */
  boftNButterflyFactor: number;
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Modules to leave out of those; same forms, default null. */
  excludeModules: readonly string[] | string | null;
  /** Share of the blocks of one factor, chosen anew each time, that rest while training; default 0. */
  boftDropout: number;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "boft_only";
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** true: no rotation and scales of 1. false: entries from N(0, 0.1), scales from N(1, 0.1), for tests. Default true. */
  initWeights: boolean;
  /** Numbers of the blocks to adapt; null for all. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h"; default null. */
  layersPattern: string | readonly string[] | null;
}

const DEFAULTS: BOFTConfigFields = {
  ...COMMON_DEFAULTS,
  boftBlockSize: 4,
  boftBlockNum: 0,
  boftNButterflyFactor: 1,
  targetModules: null,
  excludeModules: null,
  boftDropout: 0,
  bias: "none",
  modulesToSave: null,
  initWeights: true,
  layersToTransform: null,
  layersPattern: null,
};

/** Fields of the file that ask for nothing here. */
const FIXED = { fan_in_fan_out: false };

function check(fields: BOFTConfigFields): void {
  checkTargets("boft", fields);
  checkInteger("boft", "boft_block_size", fields.boftBlockSize, 0);
  checkInteger("boft", "boft_block_num", fields.boftBlockNum, 0);
  checkFiniteNumber("boft", "boft_dropout", fields.boftDropout, 0, 1);
  checkChoice("boft", "bias", fields.bias, ["none", "all", "boft_only"]);
  checkFlag("boft", "init_weights", fields.initWeights);
  const { boftBlockSize: size, boftBlockNum: count, boftNButterflyFactor: factors } = fields;
  if (!Number.isInteger(factors) || factors < 1) {
    refuseConfig(
      "boft",
      `You can only specify boft_n_butterfly_factor ${factors} to be a positive integer number.`,
    );
  }
  if (size === 0 && count === 0) {
    refuseConfig(
      "boft",
      "Either `boft_block_size` or `boft_block_num` must be non-zero. Currently, boft_block_size = 0 and boft_block_num = 0.",
    );
  }
  if (size !== 0 && count !== 0) {
    refuseConfig(
      "boft",
      `You can only specify either boft_block_size (${size}) or boft_block_num (${count}), but not both simultaneously, because boft_block_size x boft_block_num == in_features.`,
    );
  }
}

/** A BOFT configuration, with Hugging Face's fields and defaults. */
export class BOFTConfig implements PeftConfig {
  /** "BOFT". */
  readonly peftType = "BOFT";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<BOFTConfigFields> = {}) {
    const all = completeFields("boft", fields, DEFAULTS);
    check(all);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. */
  static fromJSON(json: Readonly<Record<string, unknown>>): BOFTConfig {
    return new BOFTConfig(configFromJSON("boft", json, DEFAULTS, FIXED));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return configToJSON("BOFT", fieldsOf<BOFTConfigFields>(this, DEFAULTS), FIXED);
  }
}

/** The fields are properties of the class. */
export interface BOFTConfig extends BOFTConfigFields {}

/** BOFT, for the registry. */
export const boft: PeftMethod<BOFTConfig> = {
  name: "boft",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn"] : null,
  configFromJSON: (json) => BOFTConfig.fromJSON(json),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeBoftAdapter),
  linear: makeBoftAdapter,
};
