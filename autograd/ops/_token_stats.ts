/**
 * While token losses are computed, counts the targets and those of them that have the largest logit, and adds up the
 * entropies of the distributions that predict them. Off unless somebody asks.
 * @module
 */

import { TOKEN_STATS } from "../../kernels/token_stats.ts";
import type { Tensor } from "../tensor.ts";

export { TOKEN_STATS };

let collector: Tensor | null = null;

/** Runs `body`; token losses in it add to `sums`, float32 [TOKEN_STATS]: targets, hits, and entropies in nats. */
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
