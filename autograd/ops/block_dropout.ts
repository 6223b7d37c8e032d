/**
 * Multiplicative dropout (Liu et al. 2024, arXiv:2311.06243): which blocks of a butterfly rest. In one level, chosen at
 * random, `count` blocks do. The choice is a function of (seed, step, call). No gradient.
 * @module
 */

import { blockDropoutKernel } from "../../kernels/block_dropout.ts";
import type { RandomState } from "../random.ts";
import { empty, type Tensor } from "../tensor.ts";

/** Blocks of a level: each of them looks at all others. */
const MAX_BLOCKS = 32_768;

/**
 * keep [levels, blocks]: 0 for `count` blocks of one level, 1 for the others.
 * @throws {RangeError} for more blocks than 32,768, or a count above them
 */
export function blockDropout(levels: number, blocks: number, count: number, random: RandomState): Tensor {
  if (blocks > MAX_BLOCKS || count > blocks) {
    throw new RangeError(
      `Cannot drop ${count} of ${blocks} blocks: at most ${MAX_BLOCKS} blocks and a count up to them are required`,
    );
  }
  const keep = empty(random.device, [levels, blocks]);
  const params = { levels, blocks, count, call: random.nextCall() };
  random.device.dispatch(blockDropoutKernel, { rng: random.tensor.view, keep: keep.view }, params);
  return keep;
}
