/**
 * The flags that say how tokens are chosen, and the options of `generate()` that they set.
 * @module
 */

import type { GenerateOptions } from "@peft/webgpu";
import type { GenerationConfig } from "@peft/webgpu/model";
import { flag, integer, number } from "../options/rules.ts";
import type { Values } from "../jobs/flags.ts";

/** Flags of `generate` and `chat`. */
export const SAMPLING_FLAGS = {
  sample: { rule: flag, help: "Draw tokens instead of taking the most likely one" },
  temperature: { rule: number(), needs: "sample", help: "Divides the logits, with --sample" },
  "top-k": { rule: integer(0, 1e9), needs: "sample", help: "Keep the k most likely tokens, with --sample" },
  "top-p": {
    rule: number(0, 1),
    needs: "sample",
    help: "Keep the most likely tokens up to this mass, with --sample",
  },
  "min-p": {
    rule: number(0, 1),
    needs: "sample",
    help: "Keep tokens of at least this part of the greatest probability, with --sample",
  },
  "repetition-penalty": {
    rule: number(),
    help: "Above 1, tokens that occurred become less likely; 1 changes nothing",
  },
  "presence-penalty": {
    rule: number(),
    help: "Subtracted once from the logits of every token that was generated; 0 changes nothing",
  },
  "no-repeat-ngram-size": {
    rule: integer(0, 1e6),
    help: "No run of so many tokens occurs twice; 0 allows any",
  },
  seed: {
    rule: integer(0, Number.MAX_SAFE_INTEGER),
    default: 0,
    needs: "sample",
    help: "Seed of --sample",
  },
} as const;

/**
 * The options of `generate()` that the flags set.
 * @param own what the model's generation_config.json says, for flags that are not given
 */
export function samplingOptions(
  values: Values<typeof SAMPLING_FLAGS>,
  own: GenerationConfig = {},
): GenerateOptions {
  return {
    doSample: values.sample,
    temperature: values.temperature ?? own.temperature,
    topK: values.sample ? values["top-k"] ?? own.topK : 0,
    topP: values["top-p"] ?? own.topP,
    minP: values["min-p"] ?? own.minP,
    repetitionPenalty: values["repetition-penalty"] ?? own.repetitionPenalty,
    presencePenalty: values["presence-penalty"],
    noRepeatNgramSize: values["no-repeat-ngram-size"] ?? own.noRepeatNgramSize,
    seed: values.seed,
  };
}
