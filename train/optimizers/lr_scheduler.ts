/**
 * Learning rate schedules: the learning rate of every group is its initial one times a factor of the step.
 * @module
 */

import type { Optimizer } from "./optimizer.ts";
import { SCHEDULES } from "./schedule_table.ts";
import { refuse, SCHEDULER_TYPES, type SchedulerSettings, type SchedulerType } from "./schedules.ts";

/**
 * What a schedule continues from.
 *
 * @example
 * ```ts
 * import { AdamW, getLinearScheduleWithWarmup, initDevice, Tensor } from "@peft/webgpu";
 * import type { LRSchedulerState } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const make = () => getLinearScheduleWithWarmup(new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1 }), 0, 10);
 * const first = make();
 * for (let step = 0; step < 4; step++) first.step();
 * const saved: LRSchedulerState = first.stateDict();
 * const second = make();
 * second.loadStateDict(saved);
 * console.log(second.getLastLr()); // [ 0.6 ]
 * ```
 */
export interface LRSchedulerState {
  /** Steps taken. */
  lastEpoch: number;
  /** Initial learning rate of each group. */
  baseLrs: number[];
}

/**
 * Sets the learning rates of an optimizer (`torch.optim.lr_scheduler.LambdaLR`).
 *
 * @example
 * ```ts
 * import { AdamW, initDevice } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 * import { LRScheduler } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1 });
 * const schedule = new LRScheduler(optimizer, (step) => 1 / (1 + step));
 * schedule.step(); // after each optimizer step
 * console.log(schedule.getLastLr()); // [ 0.5 ]
 * ```
 */
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

/**
 * Rises linearly to the initial rate in `numWarmupSteps`, then falls linearly to 0 at `numTrainingSteps`.
 *
 * @example
 * ```ts
 * import { AdamW, getLinearScheduleWithWarmup, initDevice } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1e-3 });
 * const schedule = getLinearScheduleWithWarmup(optimizer, 10, 100);
 * schedule.step(); // after each optimizer step
 * console.log(schedule.getLastLr()); // [ 0.0001 ]
 * ```
 */
export function getLinearScheduleWithWarmup(
  optimizer: Optimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
): LRScheduler {
  return getScheduler("linear", optimizer, { numWarmupSteps, numTrainingSteps });
}

/**
 * Rises linearly, then follows `numCycles` waves of a cosine; the default 0.5 falls to 0 at `numTrainingSteps`.
 *
 * @example
 * ```ts
 * import { AdamW, getCosineScheduleWithWarmup, initDevice } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1e-3 });
 * const schedule = getCosineScheduleWithWarmup(optimizer, 10, 100);
 * schedule.step(); // after each optimizer step
 * console.log(schedule.getLastLr()); // [ 0.0001 ]
 * ```
 */
export function getCosineScheduleWithWarmup(
  optimizer: Optimizer,
  numWarmupSteps: number,
  numTrainingSteps: number,
  numCycles = 0.5,
): LRScheduler {
  return getScheduler("cosine", optimizer, { numWarmupSteps, numTrainingSteps, numCycles });
}

/**
 * Keeps the initial rate.
 *
 * @example
 * ```ts
 * import { AdamW, getConstantSchedule, initDevice } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1e-3 });
 * const schedule = getConstantSchedule(optimizer);
 * schedule.step(); // after each optimizer step
 * console.log(schedule.getLastLr()); // [ 0.001 ]
 * ```
 */
export function getConstantSchedule(optimizer: Optimizer): LRScheduler {
  return getScheduler("constant", optimizer);
}

/**
 * Rises linearly to the initial rate and keeps it.
 *
 * @example
 * ```ts
 * import { AdamW, getConstantScheduleWithWarmup, initDevice } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1e-3 });
 * const schedule = getConstantScheduleWithWarmup(optimizer, 10);
 * schedule.step(); // after each optimizer step
 * console.log(schedule.getLastLr()); // [ 0.0001 ]: a tenth of the way up
 * ```
 */
export function getConstantScheduleWithWarmup(optimizer: Optimizer, numWarmupSteps: number): LRScheduler {
  return getScheduler("constant_with_warmup", optimizer, { numWarmupSteps });
}

/**
 * Options of `getScheduler`.
 *
 * @example
 * ```ts
 * import { AdamW, getScheduler, initDevice, Tensor } from "@peft/webgpu";
 * import type { SchedulerOptions } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const options: SchedulerOptions = { numWarmupSteps: 2, numTrainingSteps: 10, numDecaySteps: 4, decayType: "1-sqrt" };
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1e-3 });
 * const schedule = getScheduler("warmup_stable_decay", optimizer, options);
 * for (let step = 0; step < 5; step++) schedule.step();
 * console.log(schedule.getLastLr()); // [ 0.001 ]: neither in the warmup nor in the decay
 * ```
 */
export interface SchedulerOptions extends SchedulerSettings {
  /** Default 0. */
  numWarmupSteps?: number;
  /** Needed by all but `inverse_sqrt`, the constant ones, and `warmup_stable_decay` with `numStableSteps`. */
  numTrainingSteps?: number;
}

/**
 * The schedule of a name, as `transformers.get_scheduler`.
 * @throws {RangeError} for an unknown name
 * @throws {TypeError} for a setting that the schedule does not have, and where one that it needs is missing
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AdamW, getPeftModel, getScheduler, LoraConfig } from "@peft/webgpu";
 *
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), new LoraConfig());
 * const optimizer = new AdamW([...model.parameters()].filter((parameter) => parameter.requiresGrad), { lr: 1e-3 });
 * const schedule = getScheduler("cosine", optimizer, { numWarmupSteps: 10, numTrainingSteps: 100 });
 * schedule.step(); // after each optimizer.step()
 * ```
 */
export function getScheduler(
  name: SchedulerType,
  optimizer: Optimizer,
  options: SchedulerOptions = {},
): LRScheduler {
  if (!Object.hasOwn(SCHEDULES, name)) {
    const names = SCHEDULER_TYPES.map((known) => `"${known}"`).join(", ");
    throw new RangeError(`Cannot make schedule "${name}": one of ${names} is required`);
  }
  const { settings, factor } = SCHEDULES[name];
  const { numWarmupSteps = 0, numTrainingSteps, ...others } = options;
  for (const [key, value] of Object.entries(others)) {
    if (value === undefined || settings.includes(key as keyof SchedulerSettings)) continue;
    const known = settings.length === 0 ? "no settings" : `of settings, only ${settings.join(", ")}`;
    refuse(name, `${known} can be used`, key);
  }
  const given = { ...others, name, warmupSteps: numWarmupSteps, numTrainingSteps };
  return new LRScheduler(optimizer, factor(given, optimizer.paramGroups[0].lr));
}
