/**
 * From settings to an optimizer.
 * @module
 */

import { decayGroups, type TrainableModel } from "../trainable_model.ts";
import type { TrainingArguments } from "../training_arguments.ts";
import { loraplusGroups } from "./loraplus.ts";
import type { Optimizer } from "./optimizer.ts";
import { loadOptimizer, makeOptimizer } from "./table.ts";

/** The optimizer that the settings describe. */
export function optimizerOf(model: TrainableModel, args: TrainingArguments): Optimizer {
  const { learningRate: lr, weightDecay, loraplusLrRatio: ratio, loraplusLrEmbedding: embedding } = args;
  const groups = ratio === null
    ? decayGroups(model, weightDecay)
    : loraplusGroups(model, { lr, ratio, embedding, weightDecay });
  return makeOptimizer(args.optim, groups, args);
}

/** Loads what `optimizerOf` needs for these settings. */
export async function loadOptimizerOf({ optim, loraplusLrRatio }: TrainingArguments): Promise<void> {
  await Promise.all([loadOptimizer(optim), loraplusLrRatio !== null && import("./loraplus.ts")]);
}
