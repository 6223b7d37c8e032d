/**
 * A progress line for training: step, loss, tokens per second, time left.
 * @module
 */

import cliProgress from "cli-progress";
import { formatProgress, type TrainerCallback, type TrainingArguments } from "@peft/webgpu";
import type { TrainerState } from "@peft/webgpu/train";

/** Shows a bar on a terminal, and a line now and then elsewhere. */
export class ProgressBar implements TrainerCallback {
  readonly #bar = new cliProgress.SingleBar({
    format: "{bar} {line}",
    barsize: 24,
    clearOnComplete: false,
    hideCursor: true,
    noTTYOutput: true,
    notTTYSchedule: 5000,
    stream: undefined,
  }, cliProgress.Presets.shades_classic);

  /** Starts the bar. */
  onTrainBegin(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    this.#bar.start(state.maxSteps, state.globalStep, { line: formatProgress(state) });
  }

  /** Moves it. */
  onStepEnd(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    this.#bar.update(state.globalStep, { line: formatProgress(state) });
  }

  /** Ends it. */
  onTrainEnd(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    this.#bar.update(state.globalStep, { line: formatProgress(state) });
    this.#bar.stop();
  }
}
