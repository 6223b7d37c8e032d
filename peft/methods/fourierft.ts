/**
 * FourierFT (Gao et al. 2024, arXiv:2405.03003): the change of a weight is the inverse Fourier transform of a spectrum with
 * few trained entries c_k at random places (p_k, q_k).
 *   dW[p, q] = scaling / (out in) sum_k c_k cos(2 pi (p_k p / out + q_k q / in));   y = x (W + dW^T) + b
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21. Places are not in the file: they come
 * from PyTorch's generator and `randomLocSeed`.
 * @module
 */

import { AdaptedLinear, isLinearTarget } from "../layers/adapted_linear.ts";
import { FourierFTConfig } from "./fourierft_config.ts";
import { FourierTables, makeFourierAdapter } from "./fourierft_layer.ts";
import type { PeftMethod } from "./method.ts";
import type { Conv1D, Linear } from "../../nn/mod.ts";

/** FourierFT, for the registry. */
export const fourierft: PeftMethod<FourierFTConfig> = {
  name: "fourierft",
  configFromJSON: (json) => FourierFTConfig.fromJSON(json),
  sharedPart: (config, _targets, { device }) => new FourierTables(config.randomLocSeed, device),
  supports: isLinearTarget,
  wrap: (module, state) => new AdaptedLinear(module as Conv1D | Linear, state, makeFourierAdapter),
  linear: makeFourierAdapter,
};
