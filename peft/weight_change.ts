/**
 * Adapters whose change is a whole matrix, dW: LoHa and LoKr. y = x (W + dW) + b in one product; while training, dW may
 * lose rows ("rank dropout") or be left out ("module dropout").
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
  reshape,
  scale,
  type Tensor,
  type WeightLayout,
} from "../autograd/mod.ts";
import type { LinearCall } from "./linear_call.ts";

/** A call whose weight has a change added to it. */
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

/** `change`, stored by `layout`, after dropout. */
export function dropChange(change: Tensor, layout: WeightLayout, options: ChangeDropout): Tensor {
  const { rank, rankScale, module, random } = options;
  let result = change;
  if (rank > 0) {
    const features = change.shape[layout === "conv1d" ? 1 : 0];
    const mask = keepMask(change, [features], rank, random); // ones and zeros
    const factors = rankScale ? divide(mask, mean(mask)) : mask;
    result = multiply(result, layout === "conv1d" ? factors : reshape(factors, [features, 1]));
  }
  return module > 0 ? multiply(result, keepMask(change, [1], module, random)) : result;
}

/** Ones, and zeros with probability p. */
function keepMask({ device }: Tensor, shape: readonly number[], p: number, random: RandomState): Tensor {
  return scale(dropout(full(device, shape, 1), p, random), 1 - p);
}
