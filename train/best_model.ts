/**
 * Which evaluation of a run is the best.
 * @module
 */

import type { TrainerState } from "./trainer_state.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** Whether a measure is better than the best so far; the first one is, NaN never. */
export function isBetter(args: TrainingArguments, value: number, best: number | null): boolean {
  if (Number.isNaN(value)) return false;
  if (best === null) return true;
  return args.greaterIsBetter ? value > best : value < best;
}

/**
 * Keeps the best measure in the state, as an evaluation logged it.
 * @throws {TypeError} if the evaluation has no measure of that name
 */
export function noteBest(
  args: TrainingArguments,
  state: TrainerState,
  logs: Readonly<Record<string, number>>,
): void {
  const name = args.metricForBestModel;
  if (name === null) return;
  const value = logs[name];
  if (value === undefined) {
    const names = Object.keys(logs).map((key) => `"${key}"`).join(", ");
    throw new TypeError(
      `Cannot find the best model: metricForBestModel must be one of ${names}, received "${name}"`,
    );
  }
  if (!isBetter(args, value, state.bestMetric)) return;
  state.bestMetric = value;
  state.bestGlobalStep = state.globalStep;
}
