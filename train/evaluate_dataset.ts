/**
 * An evaluation of the Trainer: the loss over a dataset, and what a caller measures of the predictions.
 * @module
 */

import { type DataCollator, DataLoader } from "./data/data_loader.ts";
import type { Dataset } from "./data/example.ts";
import { type EvalOutput, evaluateLoss } from "./evaluate.ts";
import { type ComputeMetrics, PredictionCollector, type PreprocessLogits } from "./metrics.ts";
import type { Objective } from "./objective.ts";
import type { TrainableModel } from "./trainable_model.ts";

/** How a dataset is evaluated. */
export interface Evaluation {
  readonly batchSize: number;
  readonly collate: DataCollator;
  readonly objective: Objective;
  readonly computeMetrics?: ComputeMetrics;
  readonly preprocessLogitsForMetrics?: PreprocessLogits;
}

/**
 * Evaluates a dataset.
 * @throws {RangeError} if there is no label at all @throws {TypeError} without a dataset
 */
export async function evaluateDataset(
  model: TrainableModel,
  dataset: Dataset | undefined,
  { batchSize, collate, objective, computeMetrics, preprocessLogitsForMetrics }: Evaluation,
): Promise<EvalOutput> {
  if (!dataset) throw new TypeError("Cannot evaluate: an evalDataset is required, received none");
  await dataset.prepare?.();
  const loader = new DataLoader(dataset, { batchSize, collate });
  const collector = computeMetrics
    ? new PredictionCollector(computeMetrics, preprocessLogitsForMetrics)
    : null;
  return await evaluateLoss(model, loader, objective, collector);
}
