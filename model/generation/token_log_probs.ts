/**
 * Log-probabilities of chosen tokens, from their logits on the host.
 * @module
 */

/**
 * Log-probability of a token.
 *
 * @example
 * ```ts
 * import type { TokenLogProb } from "@peft/webgpu/model";
 *
 * const perplexity = (tokens: readonly TokenLogProb[]) =>
 *   Math.exp(-tokens.reduce((sum, { logProb }) => sum + logProb, 0) / tokens.length);
 * console.log(perplexity([{ id: 5, logProb: Math.log(0.5) }, { id: 6, logProb: Math.log(0.125) }])); // 4, nearly
 * ```
 */
export interface TokenLogProb {
  /** Token id. */
  readonly id: number;
  /** Natural logarithm of its probability. */
  readonly logProb: number;
}

/**
 * The chosen token's log-probability beside those of the most likely ones.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { ContinuousBatch, type TokenLogProbs } from "@peft/webgpu/model";
 *
 * using batch = new ContinuousBatch(await AutoModelForCausalLM.fromPretrained("examples/demo/model"));
 * for await (const { logProbs } of batch.add({ prompt: [5, 6], maxNewTokens: 1, logProbs: 3 })) {
 *   const { id, top } = logProbs as TokenLogProbs;
 *   console.log(id === top[0].id, top.map(({ logProb }) => Math.exp(logProb))); // true, and three probabilities
 * }
 * ```
 */
export interface TokenLogProbs extends TokenLogProb {
  /** The most likely tokens, first to last. */
  readonly top: readonly TokenLogProb[];
}

/**
 * Log-probabilities of the model's own distribution, before temperature, penalties and cuts. Summed in float64.
 * @param logits [V]   @param count how many of the most likely tokens are listed
 */
export function topLogProbs(logits: Float32Array, id: number, count: number): TokenLogProbs {
  let max = -Infinity;
  for (const value of logits) if (value > max) max = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - max);
  const total = max + Math.log(sum);
  const top: number[] = [];
  for (let i = 0; count > 0 && i < logits.length; i++) {
    if (top.length === count && logits[i] <= logits[top[count - 1]]) continue;
    const place = top.findIndex((other) => logits[i] > logits[other]);
    top.splice(place < 0 ? top.length : place, 0, i);
    top.length = Math.min(top.length, count);
  }
  const of = (token: number): TokenLogProb => ({ id: token, logProb: logits[token] - total });
  return { ...of(id), top: top.map(of) };
}
