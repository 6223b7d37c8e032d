/**
 * Changes of a weight that may lose output features ("rank dropout") or be left out entirely ("module dropout") while
 * training, and changes that are whole matrices.
 * @module
 */

import {
  add,
  cast,
  divide,
  dropout,
  full,
  mean,
  multiply,
  type RandomState,
  scale,
  type Tensor,
} from "../../autograd/mod.ts";
import type { LinearCall } from "../layers/linear_call.ts";

/** A call whose weight has a change added to it, stored like it: one product with both. */
export function addToWeight(call: LinearCall, change: Tensor): LinearCall {
  return { ...call, weight: add(cast(call.weight, "float32"), change) };
}

/** What of a change is dropped while training. */
export interface ChangeDropout {
  /** Probability that an output feature loses its change. */
  readonly rank: number;
  /** Whether those that are left are scaled up by their share. */
  readonly rankScale: boolean;
  /** Probability that the whole change is left out of a forward. */
  readonly module: number;
  /** Where the masks come from. */
  readonly random: RandomState;
}

/** Factors of a change for each output feature, [out] or [1]; null where nothing is dropped. */
export function dropFactors(outFeatures: number, options: ChangeDropout): Tensor | null {
  const { rank, rankScale, module, random } = options;
  const features = rank > 0 ? keepMask(outFeatures, rank, random) : null;
  const scaled = features && rankScale ? divide(features, mean(features)) : features;
  const whole = module > 0 ? keepMask(1, module, random) : null;
  return scaled && whole ? multiply(scaled, whole) : scaled ?? whole;
}

/** Ones, and zeros with probability p. */
function keepMask(size: number, p: number, random: RandomState): Tensor {
  return scale(dropout(full(random.device, [size], 1), p, random), 1 - p);
}
