/**
 * How the next token is chosen, in the order of `transformers`' logits processors: repetition penalty, presence penalty,
 * repeated runs, temperature, top-k, top-p, min-p, then a draw (or the maximum). The choice itself happens on the device (`autograd/ops/sample.ts`).
 * @module
 */

/**
 * How the next token is chosen.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { SamplingOptions } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const creative: SamplingOptions = { doSample: true, temperature: 1.2, minP: 0.1, repetitionPenalty: 1.1 };
 * console.log(await model.generate([[5, 6]], { ...creative, maxNewTokens: 4, seed: 3 }));
 * ```
 */
export interface SamplingOptions {
  /** Draw from the distribution; default false, the most likely token. */
  doSample?: boolean;
  /** Divides the logits; default 1. */
  temperature?: number;
  /** Keep the k most likely tokens; default 50 when sampling, 0 keeps all. */
  topK?: number;
  /** Keep the fewest tokens whose probabilities sum to at least this; default 1. */
  topP?: number;
  /** Keep tokens whose probability is at least this part of the greatest one; default 0, all (arXiv:2407.01082). */
  minP?: number;
  /** Above 1, tokens that occurred become less likely (Keskar et al. 2019, arXiv:1909.05858); default 1. */
  repetitionPenalty?: number;
  /**
   * Subtracted once from the logits of every token that was generated, not of the prompt's; default 0. `transformers`
   * has no such option: this is the one of OpenAI's interface and of vLLM.
   */
  presencePenalty?: number;
  /** No run of so many tokens occurs twice in a row, the prompt included; default 0, any may. */
  noRepeatNgramSize?: number;
}

/** Options with every field filled in. @throws {RangeError} for values outside their range */
export function resolveSampling(options: SamplingOptions): Required<SamplingOptions> {
  const {
    doSample = false,
    temperature = 1,
    topK = doSample ? 50 : 0,
    topP = 1,
    minP = 0,
    repetitionPenalty = 1,
    presencePenalty = 0,
    noRepeatNgramSize = 0,
  } = options;
  const refuse = (name: string, wanted: string, value: number) => {
    throw new RangeError(`Cannot generate: ${name} must be ${wanted}, received ${value}`);
  };
  if (!(temperature > 0 && temperature < Infinity)) refuse("temperature", "a positive number", temperature);
  if (!Number.isInteger(topK) || topK < 0) refuse("topK", "an integer of at least 0", topK);
  if (!(topP > 0 && topP <= 1)) refuse("topP", "above 0 and at most 1", topP);
  if (!(repetitionPenalty > 0 && repetitionPenalty < Infinity)) {
    refuse("repetitionPenalty", "a positive number", repetitionPenalty);
  }
  if (!(minP >= 0 && minP <= 1)) refuse("minP", "a number from 0 to 1", minP);
  if (!Number.isFinite(presencePenalty)) refuse("presencePenalty", "a number", presencePenalty);
  if (!Number.isInteger(noRepeatNgramSize) || noRepeatNgramSize < 0) {
    refuse("noRepeatNgramSize", "an integer of at least 0", noRepeatNgramSize);
  }
  return {
    doSample,
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    presencePenalty,
    noRepeatNgramSize,
  };
}
