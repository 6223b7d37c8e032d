/**
 * Counts, beside losses of tokens, how many targets have the largest logit. Off unless somebody asks.
 * @module
 */

import type { Tensor } from "../tensor.ts";

let counter: Tensor | null = null;

/** Runs `body`; the losses of tokens in it add their hits and their targets to `hits`, uint32 [2]. */
export function countingHits<T>(hits: Tensor, body: () => T): T {
  const before = counter;
  counter = hits;
  try {
    return body();
  } finally {
    counter = before;
  }
}

/** What counts now; null where nobody asked. */
export function hitCounter(): Tensor | null {
  return counter;
}
