/**
 * Layers as this family makes them.
 * @module
 */

import { Linear, RMSNorm } from "../../nn/mod.ts";
import type { ParameterSource } from "../parameter_source.ts";
import type { LlamaConfig } from "./config.ts";

/**
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { linear, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const a = Tensor.from([[1, 2], [3, 4]]);
 * console.log(await linear(Tensor.from([[1, 1]]), a, Tensor.from([10, 20])).data()); // [14, 26]: x W + b, W as Conv1D has it
 * ```
 * @internal A linear layer, with a bias of zeros or none.
 */
export function linear(
  source: ParameterSource,
  inFeatures: number,
  outFeatures: number,
  bias: boolean,
): Linear {
  const weight = source([outFeatures, inFeatures], "normal", true);
  return new Linear(weight, bias ? source([outFeatures], "zeros", false) : null);
}

/** @internal A norm of rows of `size`; Gemma's weights start at 0 and count from 1. */
export function rmsNorm(
  source: ParameterSource,
  config: LlamaConfig,
  size: number = config.hiddenSize,
): RMSNorm {
  const gemma = config.variant.gemma ?? false;
  return new RMSNorm(source([size], gemma ? "zeros" : "ones", false), config.rmsNormEps, gemma ? 1 : 0);
}
