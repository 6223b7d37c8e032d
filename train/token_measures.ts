/**
 * What TRL's `SFTTrainer` logs of tokens beside their loss: how often the label has the largest logit, and the mean entropy
 * of the model's distributions. Counted in the chunks of the head: whole logits never exist.
 * @module
 */

import { full } from "../autograd/mod.ts";
import { collectingTokenStats, TOKEN_STATS } from "../autograd/ops/_token_stats.ts";
import type { Objective } from "./objective.ts";
import { deviceOf } from "./trainable_model.ts";

/** What is known of the labels that counted. */
export interface TokenMeasures {
  /** How many there were; 0 for a loss that is not made of log-probabilities here. */
  readonly tokens: number;
  /** Part of them that had the largest logit. */
  readonly meanTokenAccuracy: number;
  /** Mean entropy, in nats, of the distributions that predicted them. */
  readonly entropy: number;
}

/** Measures of the sums that `collectingTokenStats` adds to. */
export function tokenMeasures([tokens, hits, entropies]: readonly number[]): TokenMeasures {
  return { tokens, meanTokenAccuracy: hits / tokens, entropy: entropies / tokens };
}

/**
 * The same objective, whose logs also have `meanTokenAccuracy`, the part of the labels that had the largest logit, and
 * `entropy`, the mean entropy in nats of the distributions that predicted them.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { MODEL_LOSS, withTokenMeasures } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * const objective = withTokenMeasures(MODEL_LOSS);
 * await new Trainer({ model, trainDataset, args: { maxSteps: 2, loggingSteps: 1, reportTo: "none" }, objective }).train();
 * ```
 * @param objective such as `MODEL_LOSS`
 * @throws {TypeError} for an objective that has measures of its own
 */
export function withTokenMeasures(objective: Objective): Objective {
  const { sumCount } = objective;
  if (sumCount !== 0) {
    throw new TypeError(
      `Cannot measure tokens: an objective without measures of its own is required, received one with ${sumCount} sums`,
    );
  }
  return {
    ...objective,
    measuresTokens: true,
    sumCount: TOKEN_STATS,
    loss: (model, batch, items, divisor) => {
      const device = deviceOf(model);
      if (!device) return objective.loss(model, batch, items, divisor);
      const sums = full(device, [TOKEN_STATS], 0);
      return { ...collectingTokenStats(sums, () => objective.loss(model, batch, items, divisor)), sums };
    },
    measures: (sums) => {
      const { tokens, ...measures } = tokenMeasures(sums);
      return tokens > 0 ? measures : {};
    },
  };
}
