/**
 * Ends training when it no longer helps.
 * @module
 */

import { checkOptions } from "../options/names.ts";
import { isBetter } from "./best_model.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "./trainer_state.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/**
 * Options of `EarlyStoppingCallback`.
 *
 * @example
 * ```ts
 * import { EarlyStoppingCallback, TrainingArguments } from "@peft/webgpu";
 * import type { EarlyStoppingOptions } from "@peft/webgpu/train";
 *
 * const options: EarlyStoppingOptions = { earlyStoppingPatience: 2, earlyStoppingThreshold: 0.01 };
 * const callbacks = [new EarlyStoppingCallback(options)];
 * const args = new TrainingArguments({ evalStrategy: "steps", evalSteps: 50, metricForBestModel: "evalLoss" });
 * console.log(callbacks.length, args.metricForBestModel); // both for one Trainer
 * ```
 */
export interface EarlyStoppingOptions {
  /** Evaluations in a row that may be no better; default 1. */
  earlyStoppingPatience?: number;
  /** By how much an evaluation must be better to count; default 0. */
  earlyStoppingThreshold?: number;
}

/**
 * Stops training after `earlyStoppingPatience` evaluations in a row whose `metricForBestModel` is no better, as the
 * callback of `transformers` does. Its count is part of checkpoints.
 *
 * @example
 * ```ts
 * import { EarlyStoppingCallback } from "@peft/webgpu";
 *
 * const callbacks = [new EarlyStoppingCallback({ earlyStoppingPatience: 3 })]; // for a Trainer with metricForBestModel
 * console.log(callbacks[0].name);
 * ```
 */
export class EarlyStoppingCallback implements TrainerCallback {
  /** Its name in checkpoints. */
  readonly name = "EarlyStoppingCallback";
  readonly #patience: number;
  readonly #threshold: number;
  #count = 0;

  /** Starts at no count. @throws {RangeError} for a patience below 1 or a threshold below 0 */
  constructor(options: EarlyStoppingOptions = {}) {
    checkOptions("stop early", options, ["earlyStoppingPatience", "earlyStoppingThreshold"]);
    const { earlyStoppingPatience = 1, earlyStoppingThreshold = 0 } = options;
    if (!Number.isInteger(earlyStoppingPatience) || earlyStoppingPatience < 1) {
      throw new RangeError(
        `Cannot stop early: earlyStoppingPatience must be an integer of at least 1, received ${earlyStoppingPatience}`,
      );
    }
    if (!(earlyStoppingThreshold >= 0)) {
      throw new RangeError(
        `Cannot stop early: earlyStoppingThreshold must be at least 0, received ${earlyStoppingThreshold}`,
      );
    }
    this.#patience = earlyStoppingPatience;
    this.#threshold = earlyStoppingThreshold;
  }

  /** The count of evaluations that were no better. */
  stateDict(): Record<string, unknown> {
    return { early_stopping_patience_counter: this.#count };
  }

  /** Continues with a count. */
  loadStateDict(state: Record<string, unknown>): void {
    this.#count = Number(state.early_stopping_patience_counter ?? 0);
  }

  /** Checks that there is something to follow. @throws {TypeError} if nothing is evaluated, or no measure is named */
  onTrainBegin(args: TrainingArguments): void {
    if (args.evalStrategy !== "no" && args.metricForBestModel !== null) return;
    throw new TypeError(
      'Cannot stop early: evalStrategy "steps" or "epoch" and metricForBestModel (such as "evalLoss") are required',
    );
  }

  /** Counts evaluations that are no better than the best one before. */
  onEvaluate(
    args: TrainingArguments,
    state: Readonly<TrainerState>,
    control: TrainerControl,
    { logs }: CallbackExtra,
  ): void {
    const value = logs?.[args.metricForBestModel!];
    if (value === undefined) return;
    const better = isBetter(args, value, state.bestMetric) &&
      (state.bestMetric === null || Math.abs(value - state.bestMetric) > this.#threshold);
    this.#count = better ? 0 : this.#count + 1;
    if (this.#count >= this.#patience) control.shouldTrainingStop = true;
  }
}
