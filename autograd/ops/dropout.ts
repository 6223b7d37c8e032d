/**
 * Dropout: y = x keep / (1 - p), keep with probability 1 - p; dx = dy keep / (1 - p). The mask is a function of
 * (seed, step, call, element) and is computed again in the backward pass (Srivastava et al. 2014).
 * @module
 */

import { dropoutKernel } from "../../kernels/random_elementwise.ts";
import type { RandomState } from "../random.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkDropout, checkFloat } from "./_checks.ts";

/**
 * Zeros elements with probability `p` and scales the others by 1 / (1 - p). p = 0 returns a second handle on x.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { dropout, RandomState, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from(new Float32Array(8).fill(1));
 * const random = new RandomState(x.device, 1);
 * console.log(await dropout(x, 0.5, random).data()); // zeros and twos
 * ```
 * @throws {RangeError} unless 0 <= p <= 1
 */
export function dropout(x: Tensor, p: number, random: RandomState): Tensor {
  checkFloat("drop out", x);
  checkDropout("the dropout probability", p);
  const call = random.nextCall();
  const launch = (source: Tensor, rng: Tensor): Tensor => {
    const target = empty(source.device, source.shape);
    const params = { size: source.size, call, p };
    source.device.dispatch(dropoutKernel, { x: source.view, rng: rng.view, y: target.view }, params);
    return target;
  };
  return record("dropout", {
    inputs: { x },
    saved: { rng: random.tensor },
    outputs: [launch(x, random.tensor)],
    backward: ({ dy, saved: { rng } }) => ({ x: launch(dy, rng) }),
  });
}
