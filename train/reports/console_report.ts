/**
 * What the Trainer prints by itself.
 * @module
 */

import { formatProgress } from "./progress.ts";
import type { CallbackExtra, TrainerCallback, TrainerControl, TrainerState } from "../trainer_state.ts";
import type { TrainingArguments } from "../training_arguments.ts";

/** Seconds of silence after which a line is printed: this many at first, growing to the second number. */
const SILENCE_SECONDS = [2, 60] as const;
const GROWTH = 1.5;

/** A number as a log shows it. */
function show(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toFixed(4);
}

/** `gradNorm` as `grad norm`. */
const words = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Prints a line for each log and evaluation, and one now and then between them. */
export class ConsoleReport implements TrainerCallback {
  readonly #print: (line: string) => void;
  #last = 0;
  #silence: number = SILENCE_SECONDS[0];

  /** `print` takes each line; default `console.log`. */
  constructor(print: (line: string) => void = (line) => console.log(line)) {
    this.#print = print;
  }

  #line(line: string): void {
    this.#last = performance.now();
    this.#print(line);
  }

  /** Prints what begins. */
  onTrainBegin(args: TrainingArguments, { globalStep, maxSteps }: Readonly<TrainerState>): void {
    this.#silence = SILENCE_SECONDS[0];
    const from = globalStep > 0 ? ` from step ${globalStep}` : "";
    const logs = args.loggingStrategy === "steps" ? `, a log every ${args.loggingSteps}` : "";
    this.#line(`training${from}: ${maxSteps} steps${logs}`);
  }

  /** Breaks a long silence. */
  onStepEnd(_args: TrainingArguments, state: Readonly<TrainerState>, control: TrainerControl): void {
    if (control.shouldLog || performance.now() - this.#last < this.#silence * 1000) return;
    this.#silence = Math.min(SILENCE_SECONDS[1], this.#silence * GROWTH);
    this.#line(formatProgress(state));
  }

  /** The numbers of a log. */
  onLog(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): void {
    const { loss: _, ...others } = logs;
    const rest = Object.entries(others).map(([name, value]) => ` | ${words(name)} ${show(value)}`);
    this.#line(`${formatProgress(state)}${rest.join("")}`);
  }

  /** The numbers of an evaluation. */
  onEvaluate(
    _args: TrainingArguments,
    { globalStep, maxSteps }: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): void {
    const rest = Object.entries(logs).map(([name, value]) => ` | ${words(name)} ${show(value)}`);
    this.#line(`step ${globalStep}/${maxSteps}${rest.join("")}`);
  }

  /** Names a checkpoint. */
  onSave(
    _args: TrainingArguments,
    _state: Readonly<TrainerState>,
    _control: TrainerControl,
    { checkpoint }: CallbackExtra,
  ): void {
    this.#line(`checkpoint written to ${checkpoint}`);
  }

  /** Prints how it ended. */
  onTrainEnd(
    _args: TrainingArguments,
    { globalStep, maxSteps }: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): void {
    const how = globalStep < maxSteps
      ? `stopped at step ${globalStep} of ${maxSteps}`
      : `trained ${globalStep} steps`;
    this.#line(
      `${how} in ${(logs.trainRuntime ?? 0).toFixed(1)} s, mean loss ${show(logs.trainLoss ?? NaN)}`,
    );
  }
}
