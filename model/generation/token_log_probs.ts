/**
 * Log-probabilities of chosen tokens, from their logits on the host.
 * @module
 */

/** Log-probability of a token. */
export interface TokenLogProb {
  /** Token id. */
  readonly id: number;
  /** Natural logarithm of its probability. */
  readonly logProb: number;
}

/** The chosen token's log-probability beside those of the most likely ones. */
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
