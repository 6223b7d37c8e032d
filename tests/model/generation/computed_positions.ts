/**
 * How much a generation computes.
 * @module
 */

import type { CausalLM } from "../../../model/mod.ts";

/** Counts the positions of each row that a model computes, padding included, until the next count. */
export function computedPositions(model: CausalLM): () => number {
  let count = 0;
  const { lastLogits } = model;
  model.lastLogits = (inputs) => {
    const ids = inputs.inputIds!;
    count += "shape" in ids ? ids.shape[1] : ids[0].length;
    return lastLogits.call(model, inputs);
  };
  return () => {
    const seen = count;
    count = 0;
    return seen;
  };
}
