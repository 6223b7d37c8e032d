/**
 * Multiplicative dropout (Liu et al. 2024, arXiv:2311.06243): which blocks of a butterfly rest. In one level, chosen at
 * random, `count` blocks do. The choice is a function of (seed, step, call). No gradient.
 * @module
 */

import { blockDropoutKernel } from "../../kernels/block_dropout.ts";
import { PHILOX_LOOP } from "../../kernels/snippets.ts";
import type { RandomState } from "../random.ts";
import { empty, type Tensor } from "../tensor.ts";

/**
 * keep [levels, blocks]: 0 for `count` blocks of one level, 1 for the others.
 * @throws {RangeError} for a count above the blocks, or more blocks than the driver's loops can visit
 */
export function blockDropout(levels: number, blocks: number, count: number, random: RandomState): Tensor {
  if (count > blocks) {
    throw new RangeError(`Cannot drop ${count} of ${blocks} blocks: a count up to the blocks is required`);
  }
  const most = Math.floor(random.device.profile.maxLoopIterations / (2 + PHILOX_LOOP)); // each block looks at all
  if (blocks > most) {
    throw new RangeError(
      `Cannot drop blocks on "${random.device.adapterName}": at most ${most} blocks are required, received ${blocks}`,
    );
  }
  const keep = empty(random.device, [levels, blocks]);
  const params = { levels, blocks, count, call: random.nextCall() };
  random.device.dispatch(blockDropoutKernel, { rng: random.tensor.view, keep: keep.view }, params);
  return keep;
}
