/**
 * OFT (Qiu et al. 2023, arXiv:2306.07280; Qiu et al. 2025, arXiv:2506.19847): the inputs of a layer are rotated block by
 * block before the frozen weight.
 *   y = (x R) W + b,   R = diag(R_1, …, R_r),   R_i = cayley(Q_i) with Q_i skew-symmetric
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21, whose own does not take GPT-2's
 * Conv1D: here it does, as if it were the Linear it stands for. Of several active adapters the last rotates first, so
 * that merging them one after another gives the same (`peft`'s forward has the other order, and disagrees with its merge).
 * @module
 */

import type { Conv1D, Linear } from "../../nn/mod.ts";
import { AdaptedLinear, isLinearTarget } from "../adapted_linear.ts";
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
  snakeCase,
} from "../config.ts";
import type { PeftMethod } from "../method.ts";
import { makeOftAdapter, SkewTables } from "./oft_layer.ts";

/** Fields of an OFT configuration. */
export interface OFTConfigFields extends PeftConfigFields {
  /** Number of blocks; default 0: by `oftBlockSize`. One of the two is 0. */
  r: number;
  /** Size of a block; default 32. One that does not divide the layer's inputs is moved to the nearest that does. */
  oftBlockSize: number;
  /** Without effect, as in `peft` 0.21, whose forward never applies it; default 0. */
  moduleDropout: number;
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Biases of the base that train too: none, all, or those of adapted modules; default "none". */
  bias: "none" | "all" | "oft_only";
  /** Modules to leave out of those; same forms, default null. */
  excludeModules: readonly string[] | string | null;
  /** true: no rotation at the start. false: entries from N(0, 0.1), for tests. Default true. */
  initWeights: boolean;
  /** Numbers of the blocks to adapt; null for all. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h"; default null. */
  layersPattern: string | readonly string[] | null;
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
  /** Whether every forward first pulls Q back to within `eps` of 0 (constrained OFT); default false. */
  coft: boolean;
  /** Radius of that: eps / sqrt(blocks) for each block; default 6e-5. */
  eps: number;
  /** Whether all blocks of a layer share one rotation; default false. */
  blockShare: boolean;
  /** Whether the rotation is a Neumann series (nearly a rotation) rather than exact; default true. */
  useCayleyNeumann: boolean;
  /** Terms of the series; default 5. */
  numCayleyNeumannTerms: number;
}

const DEFAULTS: OFTConfigFields = {
  ...COMMON_DEFAULTS,
  r: 0,
  oftBlockSize: 32,
  moduleDropout: 0,
  targetModules: null,
  bias: "none",
  excludeModules: null,
  initWeights: true,
  layersToTransform: null,
  layersPattern: null,
  modulesToSave: null,
  coft: false,
  eps: 6e-5,
  blockShare: false,
  useCayleyNeumann: true,
  numCayleyNeumannTerms: 5,
};

/** Fields of the file that ask for nothing here. */
const FIXED = { fan_in_fan_out: false };

function check(fields: OFTConfigFields): void {
  checkTargets("oft", fields);
  checkInteger("oft", "r", fields.r, 0);
  checkInteger("oft", "oft_block_size", fields.oftBlockSize, 0);
  checkFiniteNumber("oft", "module_dropout", fields.moduleDropout, 0, 1);
  checkChoice("oft", "bias", fields.bias, ["none", "all", "oft_only"]);
  for (const name of ["initWeights", "coft", "blockShare", "useCayleyNeumann"] as const) {
    checkFlag("oft", snakeCase(name), fields[name]);
  }
  checkFiniteNumber("oft", "eps", fields.eps, 0);
  checkInteger("oft", "num_cayley_neumann_terms", fields.numCayleyNeumannTerms, 1);
  const { r, oftBlockSize } = fields;
  if (r === 0 && oftBlockSize === 0) {
    refuseConfig(
      "oft",
      "Either `r` or `oft_block_size` must be non-zero. Currently, r = 0 and oft_block_size = 0.",
    );
  }
  if (r !== 0 && oftBlockSize !== 0) {
    refuseConfig(
      "oft",
      `You can only specify either r (${r}) or oft_block_size (${oftBlockSize}), but not both simultaneously, because r x oft_block_size == in_features.`,
    );
  }
}

/** An OFT configuration, with Hugging Face's fields and defaults. */
export class OFTConfig implements PeftConfig {
  /** "OFT". */
  readonly peftType = "OFT";

  /** Missing fields take `peft`'s defaults. @throws {RangeError} for a value outside its range */
  constructor(fields: Partial<OFTConfigFields> = {}) {
    const all = completeFields("oft", fields, DEFAULTS);
    check(all);
    Object.assign(this, all);
  }

  /** The configuration of an `adapter_config.json`. @throws {RangeError} for a file of the old form (peft 0.13) */
  static fromJSON(json: Readonly<Record<string, unknown>>): OFTConfig {
    if (!("oft_block_size" in json)) {
      refuseConfig(
        "oft",
        "OFT has been updated since PEFT 0.14.0: a configuration with oft_block_size is required, retrain the adapter",
      );
    }
    return new OFTConfig(configFromJSON("oft", json, DEFAULTS, FIXED));
  }

  /** The fields of `adapter_config.json`. */
  toJSON(): Record<string, unknown> {
    return configToJSON("OFT", fieldsOf<OFTConfigFields>(this, DEFAULTS), FIXED);
  }
}

/** The fields are properties of the class. */
export interface OFTConfig extends OFTConfigFields {}

/** OFT, for the registry. */
export const oft: PeftMethod<OFTConfig> = {
  name: "oft",
  defaultTargets: (modelType) => modelType === "gpt2" ? ["c_attn"] : null,
  configFromJSON: (json) => OFTConfig.fromJSON(json),
  companion: (_config, _targets, { device }) => new SkewTables(device),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeOftAdapter),
  linear: makeOftAdapter,
};
