/**
 * How the next token is chosen, in the order of `transformers`' logits processors: repetition penalty, temperature,
 * top-k, top-p, then a draw (or the maximum). The choice itself happens on the device (`autograd/ops/sample.ts`).
 * @module
 */

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
