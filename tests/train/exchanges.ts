/**
 * Trainers of one process that share the gradients of each step.
 * @module
 */

import type { GradientExchange } from "@peft/webgpu/train";

/** Exchanges between trainers of one process: share i is that of trainer i, unless it is out of order. */
export function exchanges(
  count: number,
  isAway: (trainer: number, step: number) => boolean = () => false,
): GradientExchange[] {
  const found = new Map<string, PromiseWithResolvers<Uint8Array>>();
  const slot = (step: number, share: number) => {
    const key = `${step}/${share}`;
    if (!found.has(key)) found.set(key, Promise.withResolvers());
    return found.get(key)!;
  };
  return Array.from({ length: count }, (_, own): GradientExchange => ({
    shares: count,
    async exchange(step, shares, compute) {
      for (const share of shares) {
        // the next one takes the share of a trainer that is away
        const owner = isAway(share, step) ? (share + 1) % count : share;
        if (owner === own && !isAway(own, step)) {
          slot(step, share).resolve((await compute(share, null)).bytes);
        }
      }
      return await Promise.all(shares.map((share) => slot(step, share).promise));
    },
  }));
}
