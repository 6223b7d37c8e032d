/**
 * Ends a training whose loss is too high (axolotl's `loss_watchdog_threshold` and `loss_watchdog_patience`).
 * @module
 */

import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "./trainer_state.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** Follows the logged losses; its count is part of checkpoints. */
export class LossWatchdog implements TrainerCallback {
  /** Its name in checkpoints. */
  readonly name = "LossWatchdog";
  readonly #threshold: number;
  readonly #patience: number;
  #violations = 0;

  /** Stops after `patience` logs in a row with a loss above `threshold`. */
  constructor(threshold: number, patience: number) {
    this.#threshold = threshold;
    this.#patience = patience;
  }

  stateDict(): Record<string, unknown> {
    return { violations: this.#violations };
  }

  loadStateDict(state: Record<string, unknown>): void {
    this.#violations = Number(state.violations ?? 0);
  }

  onLog(
    _args: TrainingArguments,
    { globalStep }: Readonly<TrainerState>,
    control: TrainerControl,
    { logs }: CallbackExtra,
  ): void {
    const loss = logs?.loss;
    if (loss === undefined) return; // NaN: no step since the last log was finite
    this.#violations = !(loss <= this.#threshold) ? this.#violations + 1 : 0;
    if (this.#violations < this.#patience) return;
    control.shouldTrainingStop = true;
    const last = `${this.#violations} logs in a row`;
    control.stopReason = Number.isNaN(loss)
      ? `none of the steps of the log at step ${globalStep} was finite: no loss at or below lossWatchdogThreshold ${this.#threshold} in ${last}`
      : `the loss at step ${globalStep}, ${loss}, is above lossWatchdogThreshold ${this.#threshold} in ${last}`;
  }
}
