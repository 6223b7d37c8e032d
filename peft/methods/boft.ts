/**
 * BOFT (Liu et al. 2024, arXiv:2311.06243): OFT with butterfly factors, each of which mixes features twice as far apart as
 * the one before, and a trained scale of every output.
 *   y = s ((x M) W) + b,   M = M_f … M_1 M_0,   M_i = P_i diag(R_i1, …, R_iD) P_i^T,   R = (I - S) (I + S)^-1
 * with S the skew-symmetric part of the entries. Fields, defaults, initial values and keys are those of Hugging Face's
 * `peft` 0.21, whose own does not take GPT-2's Conv1D, and has only one factor where its CUDA extension is missing: here
 * both work.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import { BOFTConfig } from "./boft_config.ts";
import { makeBoftAdapter } from "./boft_layer.ts";
import type { PeftMethod } from "./method.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/** BOFT, for the registry. */
export const boft: PeftMethod<BOFTConfig> = {
  name: "boft",
  configFromJSON: (json) => BOFTConfig.fromJSON(json),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeBoftAdapter),
  linear: makeBoftAdapter,
};
