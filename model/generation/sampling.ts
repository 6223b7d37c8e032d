/**
 * How the next token is chosen, in the order of `transformers`' logits processors: repetition penalty, presence penalty,
 * repeated runs, temperature, top-k, top-p, min-p, then a draw (or the maximum). The choice itself happens on the device (`autograd/ops/sample.ts`).
 * @module
 */

import { flag, integer, number, rule } from "../../options/rules.ts";
import { completeOptions, option, type OptionTable } from "../../options/table.ts";

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

const positive = rule<number>("a positive number", (v) => typeof v === "number" && v > 0 && v < Infinity);

const OPTIONS: OptionTable<Required<SamplingOptions>> = {
  doSample: option(false, flag),
  temperature: option(1, positive),
  topK: option(0, integer(0)),
  topP: option(1, rule("above 0 and at most 1", (v) => typeof v === "number" && v > 0 && v <= 1)),
  minP: option(0, number(0, 1)),
  repetitionPenalty: option(1, positive),
  presencePenalty: option(0, rule("a number", Number.isFinite)),
  noRepeatNgramSize: option(0, integer(0)),
};

/** Names of the options. */
export const SAMPLING_NAMES: readonly string[] = Object.keys(OPTIONS);

/** Options with every field filled in. @throws {RangeError} for values outside their range */
export function resolveSampling(options: SamplingOptions): Required<SamplingOptions> {
  const { doSample = false, topK = doSample ? 50 : 0 } = options;
  const refuse = (problem: string) => {
    throw new RangeError(`Cannot generate: ${problem}`);
  };
  return completeOptions(OPTIONS, { ...options, topK }, { refuse });
}
