/**
 * Learning rate schedules, with the formulas of `transformers.optimization`: the learning rate of every group is its
 * initial one times a factor of the step.
 * @module
 */

import type { Optimizer } from "./optimizer.ts";

/** Names that `getScheduler` knows; Hugging Face's. */
export const SCHEDULER_TYPES = ["linear", "cosine", "constant", "constant_with_warmup"] as const;

/** Name of a schedule. */
export type SchedulerType = "linear" | "cosine" | "constant" | "constant_with_warmup";

/** What a schedule continues from. */
export interface LRSchedulerState {
  /** Steps taken. */
  lastEpoch: number;
  /** Initial learning rate of each group. */
  baseLrs: number[];
}

/** Sets the learning rates of an optimizer (`torch.optim.lr_scheduler.LambdaLR`). */
export class LRScheduler {
  readonly #optimizer: Optimizer;
  readonly #factor: (step: number) => number;
  #baseLrs: number[];
  #lastEpoch = 0;

  /** Sets the rates of step 0 at once. */
  constructor(optimizer: Optimizer, factor: (step: number) => number) {
    this.#optimizer = optimizer;
    this.#factor = factor;
    this.#baseLrs = optimizer.paramGroups.map(({ lr }) => lr);
    this.#apply();
  }

  /** Advances by one step; call it after `optimizer.step()`. */
  step(): void {
    this.#lastEpoch++;
    this.#apply();
  }

  /** The current learning rate of each group. */
  getLastLr(): number[] {
    const factor = this.#factor(this.#lastEpoch);
    return this.#baseLrs.map((lr) => lr * factor);
  }

  /** Its current state. */
  stateDict(): LRSchedulerState {
    return { lastEpoch: this.#lastEpoch, baseLrs: [...this.#baseLrs] };
  }

  /** Continues from a state. @throws {TypeError} for another number of groups */
  loadStateDict({ lastEpoch, baseLrs }: LRSchedulerState): void {
    if (baseLrs.length !== this.#baseLrs.length) {
      throw new TypeError(
        `Cannot load the schedule's state: learning rates of ${this.#baseLrs.length} groups are required, received ${baseLrs.length}`,
      );
    }
    this.#lastEpoch = lastEpoch;
    this.#baseLrs = [...baseLrs];
    this.#apply();
  }

  #apply(): void {
    const rates = this.getLastLr();
    this.#optimizer.paramGroups.forEach((group, i) => group.lr = rates[i]);
  }
}

/** Rises from 0 over the first steps. */
function warmup(step: number, numWarmupSteps: number): number {
  return step / Math.max(1, numWarmupSteps);
}

/** Rises linearly to the initial rate in `numWarmupSteps`, then falls linearly to 0 at `numTrainingSteps`. */
export function getLinearScheduleWithWarmup(
  optimizer: Optimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
): LRScheduler {
  return new LRScheduler(optimizer, (step) => {
    if (step < numWarmupSteps) return warmup(step, numWarmupSteps);
    return Math.max(0, (numTrainingSteps - step) / Math.max(1, numTrainingSteps - numWarmupSteps));
  });
}

/** Rises linearly, then follows `numCycles` waves of a cosine; the default 0.5 falls to 0 at `numTrainingSteps`. */
export function getCosineScheduleWithWarmup(
  optimizer: Optimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  numCycles = 0.5,
): LRScheduler {
  return new LRScheduler(optimizer, (step) => {
    if (step < numWarmupSteps) return warmup(step, numWarmupSteps);
    const progress = (step - numWarmupSteps) / Math.max(1, numTrainingSteps - numWarmupSteps);
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * numCycles * 2 * progress)));
  });
}

/** Keeps the initial rate. */
export function getConstantSchedule(optimizer: Optimizer): LRScheduler {
  return new LRScheduler(optimizer, () => 1);
}

/** Rises linearly to the initial rate and keeps it. */
export function getConstantScheduleWithWarmup(optimizer: Optimizer, numWarmupSteps: number): LRScheduler {
  return new LRScheduler(optimizer, (step) => step < numWarmupSteps ? warmup(step, numWarmupSteps) : 1);
}

/** Options of `getScheduler`. */
export interface SchedulerOptions {
  /** Default 0. */
  numWarmupSteps?: number;
  /** Needed by `linear` and `cosine`. */
  numTrainingSteps?: number;
  /** Waves of `cosine`; default 0.5. */
  numCycles?: number;
}

const schedules: Record<SchedulerType, (optimizer: Optimizer, options: SchedulerOptions) => LRScheduler> = {
  linear: (optimizer, options) =>
    getLinearScheduleWithWarmup(optimizer, options.numWarmupSteps ?? 0, trainingSteps("linear", options)),
  cosine: (optimizer, options) =>
    getCosineScheduleWithWarmup(
      optimizer,
      options.numWarmupSteps ?? 0,
      trainingSteps("cosine", options),
      options.numCycles,
    ),
  constant: (optimizer) => getConstantSchedule(optimizer),
  constant_with_warmup: (optimizer, options) =>
    getConstantScheduleWithWarmup(optimizer, options.numWarmupSteps ?? 0),
};

function trainingSteps(name: SchedulerType, { numTrainingSteps }: SchedulerOptions): number {
  if (numTrainingSteps !== undefined) return numTrainingSteps;
  throw new TypeError(`Cannot make schedule "${name}": numTrainingSteps is required, received none`);
}

function checkSchedulerType(name: string): asserts name is SchedulerType {
  if (Object.hasOwn(schedules, name)) return;
  const names = Object.keys(schedules).map((known) => `"${known}"`).join(", ");
  throw new RangeError(`Cannot make schedule "${name}": one of ${names} is required`);
}

/** The schedule of a name, as `transformers.get_scheduler`. @throws {RangeError} for an unknown name */
export function getScheduler(
  name: SchedulerType,
  optimizer: Optimizer,
  options: SchedulerOptions = {},
): LRScheduler {
  checkSchedulerType(name);
  return schedules[name](optimizer, options);
}
