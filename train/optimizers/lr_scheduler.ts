/**
 * Learning rate schedules, with the formulas of `transformers.optimization`: the learning rate of every group is its
 * initial one times a factor of the step.
 * @module
 */

import type { Optimizer } from "./optimizer.ts";

/** Names that `getScheduler` knows; Hugging Face's. */
export const SCHEDULER_TYPES = [
  "linear",
  "cosine",
  "cosine_with_restarts",
  "cosine_with_min_lr",
  "polynomial",
  "inverse_sqrt",
  "warmup_stable_decay",
  "constant",
  "constant_with_warmup",
] as const;

/** Name of a schedule. */
export type SchedulerType =
  | "linear"
  | "cosine"
  | "cosine_with_restarts"
  | "cosine_with_min_lr"
  | "polynomial"
  | "inverse_sqrt"
  | "warmup_stable_decay"
  | "constant"
  | "constant_with_warmup";

/** What a schedule continues from. */
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
 * import { AdamW } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 * import { LRScheduler } from "@peft/webgpu/train";
 *
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

/** Rises from 0 over the first steps. */
function warmup(step: number, numWarmupSteps: number): number {
  return step / Math.max(1, numWarmupSteps);
}

/**
 * Rises linearly to the initial rate in `numWarmupSteps`, then falls linearly to 0 at `numTrainingSteps`.
 *
 * @example
 * ```ts
 * import { AdamW, getLinearScheduleWithWarmup } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
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
 * import { AdamW, getCosineScheduleWithWarmup } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
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
 * import { AdamW, getConstantSchedule } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
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
 * import { AdamW, getConstantScheduleWithWarmup } from "@peft/webgpu";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1e-3 });
 * const schedule = getConstantScheduleWithWarmup(optimizer, 10);
 * schedule.step(); // after each optimizer step
 * console.log(schedule.getLastLr()); // [ 0.0001 ]: a tenth of the way up
 * ```
 */
export function getConstantScheduleWithWarmup(optimizer: Optimizer, numWarmupSteps: number): LRScheduler {
  return getScheduler("constant_with_warmup", optimizer, { numWarmupSteps });
}

/** How a rate rises or falls between two values. */
export type ScheduleShape = "linear" | "cosine" | "1-sqrt";

/** What schedules take besides numbers of steps, by Hugging Face's names (`lr_scheduler_kwargs`) in camelCase. */
export interface SchedulerSettings {
  /** Waves of the cosine; default 0.5. Of `cosine_with_restarts`: falls from the initial rate to 0; default 1. */
  numCycles?: number;
  /** `cosine_with_min_lr`: the lowest rate, as a part of the initial one. It or `minLr` is needed. */
  minLrRate?: number;
  /** `cosine_with_min_lr`: the lowest rate. */
  minLr?: number;
  /** `polynomial`: the exponent; default 1. */
  power?: number;
  /** `polynomial`: the rate at the end; default 1e-7. */
  lrEnd?: number;
  /** `inverse_sqrt`: steps after which the rate has fallen to 1 / sqrt(2); default the steps of warmup, or 10,000. */
  timescale?: number;
  /** `warmup_stable_decay`: steps in which the rate falls, at the end; needed. */
  numDecaySteps?: number;
  /** `warmup_stable_decay`: steps of the initial rate; default what warmup and decay leave of `numTrainingSteps`. */
  numStableSteps?: number;
  /** `warmup_stable_decay`: how the rate rises; default "linear". */
  warmupType?: ScheduleShape;
  /** `warmup_stable_decay`: how it falls; default "cosine". */
  decayType?: ScheduleShape;
  /** `warmup_stable_decay`: the lowest rate, as a part of the initial one; default 0. */
  minLrRatio?: number;
}

/** Options of `getScheduler`. */
export interface SchedulerOptions extends SchedulerSettings {
  /** Default 0. */
  numWarmupSteps?: number;
  /** Needed by all but `inverse_sqrt`, the constant ones, and `warmup_stable_decay` with `numStableSteps`. */
  numTrainingSteps?: number;
}

/** A schedule's factor of the initial rate by the step, given the first group's initial rate. */
type MakeFactor = (options: Given, lr: number) => (step: number) => number;

interface Given extends SchedulerSettings {
  readonly name: SchedulerType;
  readonly warmupSteps: number;
  readonly numTrainingSteps?: number;
}

/** One schedule: what it takes, and its factor. */
interface Schedule {
  readonly settings: readonly (keyof SchedulerSettings)[];
  readonly factor: MakeFactor;
}

function refuse(name: SchedulerType, wanted: string, received = "none"): never {
  throw new TypeError(`Cannot make schedule "${name}": ${wanted}, received ${received}`);
}

function trainingSteps({ name, numTrainingSteps }: Given): number {
  return numTrainingSteps ?? refuse(name, "numTrainingSteps is required");
}

/** A factor that rises over the first steps, and then is `after(progress, step)`, progress being 1 at the end. */
function rising(given: Given, after: (progress: number) => number): (step: number) => number {
  const { warmupSteps } = given;
  const total = trainingSteps(given);
  return (step) => {
    if (step < warmupSteps) return warmup(step, warmupSteps);
    return after((step - warmupSteps) / Math.max(1, total - warmupSteps));
  };
}

/** A cosine from 1, `numCycles` waves of it. */
function cosine(progress: number, numCycles: number): number {
  return 0.5 * (1 + Math.cos(Math.PI * numCycles * 2 * progress));
}

/** `numCycles` waves from 1 to `least`. */
function wave(numCycles: number, least: number): (progress: number) => number {
  return (progress) => Math.max(0, cosine(progress, numCycles) * (1 - least) + least);
}

const RISES: Readonly<Record<ScheduleShape, (progress: number) => number>> = {
  linear: (progress) => progress,
  cosine: (progress) => 0.5 * (1 - Math.cos(Math.PI * progress)),
  "1-sqrt": (progress) => 1 - Math.sqrt(1 - progress),
};
const FALLS: Readonly<Record<ScheduleShape, (progress: number, numCycles: number) => number>> = {
  linear: (progress) => 1 - progress,
  cosine,
  "1-sqrt": (progress) => 1 - Math.sqrt(progress),
};

function shape<T>(name: SchedulerType, key: string, shapes: Readonly<Record<string, T>>, chosen: string): T {
  if (Object.hasOwn(shapes, chosen)) return shapes[chosen];
  const names = Object.keys(shapes).map((known) => `"${known}"`).join(", ");
  return refuse(name, `${key} must be one of ${names}`, `"${chosen}"`);
}

const SCHEDULES: Readonly<Record<SchedulerType, Schedule>> = {
  linear: {
    settings: [],
    factor: (given) => {
      const { warmupSteps } = given;
      const total = trainingSteps(given);
      return (step) => {
        if (step < warmupSteps) return warmup(step, warmupSteps);
        return Math.max(0, (total - step) / Math.max(1, total - warmupSteps));
      };
    },
  },
  cosine: {
    settings: ["numCycles"],
    factor: (given) => rising(given, wave(given.numCycles ?? 0.5, 0)),
  },
  cosine_with_restarts: {
    settings: ["numCycles"],
    factor: (given) =>
      rising(given, (progress) => {
        if (progress >= 1) return 0;
        return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((given.numCycles ?? 1) * progress % 1))));
      }),
  },
  cosine_with_min_lr: {
    settings: ["numCycles", "minLr", "minLrRate"],
    factor: (given, lr) => {
      const { minLr, minLrRate } = given;
      if ((minLr === undefined) === (minLrRate === undefined)) {
        refuse(given.name, "either minLr or minLrRate is required", minLr === undefined ? "neither" : "both");
      }
      return rising(given, wave(given.numCycles ?? 0.5, minLrRate ?? minLr! / lr));
    },
  },
  polynomial: {
    settings: ["power", "lrEnd"],
    factor: (given, lr) => {
      const { power = 1, lrEnd = 1e-7 } = given;
      if (!(lr > lrEnd)) {
        refuse(given.name, `lrEnd below the initial rate ${lr} is required`, `${lrEnd}`);
      }
      return rising(given, (progress) => {
        return progress >= 1 ? lrEnd / lr : ((lr - lrEnd) * (1 - progress) ** power + lrEnd) / lr;
      });
    },
  },
  inverse_sqrt: {
    settings: ["timescale"],
    factor: ({ warmupSteps, timescale = warmupSteps || 10_000 }) => (step) => {
      if (step < warmupSteps) return warmup(step, warmupSteps);
      return 1 / Math.sqrt((step + timescale - warmupSteps) / timescale);
    },
  },
  warmup_stable_decay: {
    settings: ["numStableSteps", "numDecaySteps", "warmupType", "decayType", "minLrRatio", "numCycles"],
    factor: (given) => {
      const { name, warmupSteps, numDecaySteps, minLrRatio: least = 0, numCycles = 0.5 } = given;
      const decay = numDecaySteps ?? refuse(name, "numDecaySteps is required");
      const stable = given.numStableSteps ?? trainingSteps(given) - warmupSteps - decay;
      const rise = shape(name, "warmupType", RISES, given.warmupType ?? "linear");
      const fall = shape(name, "decayType", FALLS, given.decayType ?? "cosine");
      const above = (factor: number) => Math.max(0, factor * (1 - least) + least);
      return (step) => {
        if (step < warmupSteps) return above(rise(step / Math.max(1, warmupSteps)));
        const progress = (step - warmupSteps - stable) / Math.max(1, decay);
        if (progress < 0) return 1;
        return progress < 1 ? above(fall(progress, numCycles)) : least;
      };
    },
  },
  constant: { settings: [], factor: () => () => 1 },
  constant_with_warmup: {
    settings: [],
    factor: ({ warmupSteps }) => (step) => step < warmupSteps ? warmup(step, warmupSteps) : 1,
  },
};

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
