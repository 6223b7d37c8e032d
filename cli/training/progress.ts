/**
 * A progress line for training: step, loss, learning rate, gradient norm, tokens per second, memory, time left.
 * @module
 */

import cliProgress from "cli-progress";
import { type Device, formatProgress, type TrainerCallback, type TrainingArguments } from "@peft/webgpu";
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

  readonly #device: Device;
  readonly #more: () => string;

  /** Shows the peak memory of `device`. @param more what else is shown */
  constructor(device: Device, more: () => string = () => "") {
    this.#device = device;
    this.#more = more;
  }

  #line(state: Readonly<TrainerState>): string {
    const line = formatProgress(state, { details: true, deviceBytes: this.#device.memory.peakBytes });
    return [line, this.#more()].filter((part) => part !== "").join(", ");
  }

  /** Starts the bar. */
  onTrainBegin(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    this.#bar.start(state.maxSteps, state.globalStep, { line: this.#line(state) });
  }

  /** Moves it. */
  onStepEnd(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    this.#bar.update(state.globalStep, { line: this.#line(state) });
  }

  /** Ends it. */
  onTrainEnd(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    this.#bar.update(state.globalStep, { line: this.#line(state) });
    this.#bar.stop();
  }
}
