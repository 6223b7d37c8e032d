/**
 * Uniform noise: y = x + u, u in [-bound, bound); dx = dy. The noise is a function of (seed, step, call, element), so that
 * a resumed run has the same (NEFTune: Jain et al. 2023, arXiv:2310.05914).
 * @module
 */

import { addNoiseKernel } from "../../kernels/random_elementwise.ts";
import type { RandomState } from "../random.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";

/** Adds noise of that bound. x of any shape -> the same shape. @throws {RangeError} for a bound below 0 */
export function addNoise(x: Tensor, bound: number, random: RandomState): Tensor {
  checkFloat("add noise to", x);
  if (!(bound >= 0 && bound < Infinity)) {
    throw new RangeError(`Cannot add noise: a bound of at least 0 is required, received ${bound}`);
  }
  const call = random.nextCall();
  const y = empty(x.device, x.shape);
  const params = { size: x.size, call, bound };
  x.device.dispatch(addNoiseKernel, { x: x.view, rng: random.tensor.view, y: y.view }, params);
  return record("addNoise", { inputs: { x }, outputs: [y], backward: ({ dy }) => ({ x: dy }) });
}
