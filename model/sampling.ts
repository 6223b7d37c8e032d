/**
 * From logits to the next token, in the order of `transformers`' logits processors: repetition penalty, temperature,
 * top-k, top-p, then a draw (or the maximum).
 * @module
 */

import type { HostRandom } from "../autograd/mod.ts";

/** How the next token is chosen. */
export interface SamplingOptions {
  /** Draw from the distribution; default false, the most likely token. */
  doSample?: boolean;
  /** Divides the logits; default 1. */
  temperature?: number;
  /** Keep the k most likely tokens; default 50 when sampling, 0 keeps all. */
  topK?: number;
  /** Keep the fewest tokens whose probabilities sum to at least this; default 1. */
  topP?: number;
  /** Above 1, tokens that occurred become less likely (Keskar et al. 2019, arXiv:1909.05858); default 1. */
  repetitionPenalty?: number;
}

/** Options with every field filled in. @throws {RangeError} for values outside their range */
export function resolveSampling(options: SamplingOptions): Required<SamplingOptions> {
  const { doSample = false, temperature = 1, topK = doSample ? 50 : 0, topP = 1, repetitionPenalty = 1 } =
    options;
  const refuse = (name: string, wanted: string, value: number) => {
    throw new RangeError(`Cannot generate: ${name} must be ${wanted}, received ${value}`);
  };
  if (!(temperature > 0 && temperature < Infinity)) refuse("temperature", "a positive number", temperature);
  if (!Number.isInteger(topK) || topK < 0) refuse("topK", "an integer of at least 0", topK);
  if (!(topP > 0 && topP <= 1)) refuse("topP", "above 0 and at most 1", topP);
  if (!(repetitionPenalty > 0 && repetitionPenalty < Infinity)) {
    refuse("repetitionPenalty", "a positive number", repetitionPenalty);
  }
  return { doSample, temperature, topK, topP, repetitionPenalty };
}

/** Index of the maximum, the first on ties. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * Chooses the next token of one row.
 * @param logits [V], changed in place   @param tokens the row so far
 */
export function chooseToken(
  logits: Float32Array,
  tokens: readonly number[],
  options: Required<SamplingOptions>,
  random: HostRandom,
): number {
  const { repetitionPenalty, temperature, topK, topP } = options;
  if (repetitionPenalty !== 1) {
    for (const id of new Set(tokens)) {
      logits[id] = logits[id] < 0 ? logits[id] * repetitionPenalty : logits[id] / repetitionPenalty;
    }
  }
  if (!options.doSample) return argmax(logits);
  const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  let kept = order;
  if (topK > 0 && topK < kept.length) { // ties with the k-th stay, as in transformers
    const threshold = logits[order[topK - 1]];
    kept = order.filter((id) => logits[id] >= threshold);
  }
  const highest = logits[kept[0]];
  let weights = kept.map((id) => Math.exp((logits[id] - highest) / temperature));
  if (topP < 1) {
    const total = weights.reduce((a, b) => a + b, 0);
    let before = 0;
    const count = weights.findIndex((weight) => {
      before += weight / total;
      return before >= topP;
    });
    if (count >= 0) {
      kept = kept.slice(0, count + 1);
      weights = weights.slice(0, count + 1);
    }
  }
  const total = weights.reduce((a, b) => a + b, 0);
  let target = random.uniform() * total;
  for (let i = 0; i < kept.length; i++) {
    target -= weights[i];
    if (target < 0) return kept[i];
  }
  return kept[kept.length - 1];
}
