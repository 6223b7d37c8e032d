/**
 * Counts, beside losses of tokens, how many targets there are, how many of them have the largest logit, and adds up the
 * entropies of their distributions. Off unless somebody asks.
 * @module
 */

import { TOKEN_STATS } from "../../kernels/token_stats.ts";
import type { Tensor } from "../tensor.ts";

export { TOKEN_STATS };

let collector: Tensor | null = null;

/** Runs `body`; the losses of tokens in it add targets, hits and entropies to `sums`, float32 [3]. */
export function collectingTokenStats<T>(sums: Tensor, body: () => T): T {
  const before = collector;
  collector = sums;
  try {
    return body();
  } finally {
    collector = before;
  }
}

/** What collects now; null where nobody asked. */
export function tokenStatsCollector(): Tensor | null {
  return collector;
}
