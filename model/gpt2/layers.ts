/**
 * Layers as GPT-2 makes them, shared by its attention, its MLP and its stack.
 * @module
 */

import { add, type Tensor } from "../../autograd/mod.ts";
import { Conv1D, type Dropout, LayerNorm, type Projection } from "../../nn/mod.ts";
import type { ParameterSource } from "../parameter_source.ts";
import type { GPT2Config } from "./config.ts";

/** @internal A Conv1D with a bias of zeros. */
export function conv1d(
  source: ParameterSource,
  inFeatures: number,
  outFeatures: number,
  residual = false,
): Conv1D {
  const weight = source([inFeatures, outFeatures], residual ? "residual" : "normal", true);
  return new Conv1D(weight, source([outFeatures], "zeros", false));
}

/**
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { layerNorm, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 *
 * console.log(await layerNorm(Tensor.from([[1, 3]]), Tensor.from([1, 1]), Tensor.from([0, 0])).data()); // [-1, 1], nearly
 * ```
 * @internal A LayerNorm with weights of one and biases of zero.
 */
export function layerNorm(source: ParameterSource, config: GPT2Config): LayerNorm {
  const shape = [config.nEmbd];
  return new LayerNorm(source(shape, "ones", false), source(shape, "zeros", false), config.layerNormEpsilon);
}

/**
 * @internal residual + drop(projection(x)), in one kernel where dropout is inactive; a residual of null adds nothing.
 * @param isRead see `LinearOptions`
 */
export function projectAndAdd(
  projection: Projection,
  x: Tensor,
  drop: Dropout,
  residual: Tensor | null,
  isRead?: boolean,
): Tensor {
  if (!drop.isActive) return projection.forward(x, { residual, isRead });
  const y = drop.forward(projection.forward(x, { isRead }));
  return residual ? add(residual, y) : y;
}
