/**
 * OFT (Qiu et al. 2023, arXiv:2306.07280; Qiu et al. 2025, arXiv:2506.19847): the inputs of a layer are rotated block by
 * block before the frozen weight.
 *   y = (x R) W + b,   R = diag(R_1, …, R_r),   R_i = cayley(Q_i) with Q_i skew-symmetric
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21, whose own does not take GPT-2's
 * Conv1D: here it does, as if it were the Linear it stands for. Of several active adapters the last rotates first, so
 * that merging them one after another gives the same (`peft`'s forward has the other order, and disagrees with its merge).
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import type { PeftMethod } from "./method.ts";
import { OFTConfig } from "./oft_config.ts";
import { makeOftAdapter, SkewTables } from "./oft_layer.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/** OFT, for the registry. */
export const oft: PeftMethod<OFTConfig> = {
  name: "oft",
  configFromJSON: (json) => OFTConfig.fromJSON(json),
  sharedPart: (_config, _targets, { device }) => new SkewTables(device),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeOftAdapter),
  linear: makeOftAdapter,
};
