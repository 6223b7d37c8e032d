/**
 * Names and settings of learning rate schedules.
 * @module
 */

/**
 * Names that `getScheduler` knows; Hugging Face's.
 *
 * @example
 * ```ts
 * import { SCHEDULER_TYPES } from "@peft/webgpu/train";
 *
 * console.log(SCHEDULER_TYPES.join(", ")); // such as the choices of a form
 * ```
 */
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

/**
 * Name of a schedule.
 *
 * @example
 * ```ts
 * import { AdamW, getScheduler, initDevice, type SchedulerType, Tensor } from "@peft/webgpu";
 *
 * await initDevice();
 * for (const type of ["linear", "cosine"] satisfies SchedulerType[]) {
 *   const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1 });
 *   const schedule = getScheduler(type, optimizer, { numTrainingSteps: 4 });
 *   const rates = [1, 2, 3, 4].map(() => {
 *     const [rate] = schedule.getLastLr();
 *     schedule.step();
 *     return rate.toFixed(2);
 *   });
 *   console.log(type, rates.join(" ")); // linear 1.00 0.75 0.50 0.25, cosine 1.00 0.85 0.50 0.15
 * }
 * ```
 */
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

/**
 * How a rate rises or falls between two values.
 *
 * @example
 * ```ts
 * import { AdamW, getScheduler, initDevice, Tensor } from "@peft/webgpu";
 * import type { ScheduleShape } from "@peft/webgpu/train";
 *
 * await initDevice();
 * // the rate halfway down, as a part of the initial one
 * function halfway(decayType: ScheduleShape): number {
 *   const optimizer = new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 1 });
 *   const schedule = getScheduler("warmup_stable_decay", optimizer, { numTrainingSteps: 2, numDecaySteps: 2, decayType });
 *   schedule.step();
 *   return schedule.getLastLr()[0];
 * }
 * console.log(halfway("linear"), halfway("1-sqrt").toFixed(2)); // 0.5 0.29
 * ```
 */
export type ScheduleShape = "linear" | "cosine" | "1-sqrt";

/**
 * What schedules take besides numbers of steps, by Hugging Face's names (`lr_scheduler_kwargs`) in camelCase.
 *
 * @example
 * ```ts
 * import { TrainingArguments } from "@peft/webgpu";
 * import type { SchedulerSettings } from "@peft/webgpu/train";
 *
 * const restarts: SchedulerSettings = { numCycles: 3 };
 * const args = new TrainingArguments({ lrSchedulerType: "cosine_with_restarts", lrSchedulerKwargs: restarts });
 * console.log(args.lrSchedulerKwargs);
 * ```
 */
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

/** Rises from 0 over the first steps. */
export function warmup(step: number, numWarmupSteps: number): number {
  return step / Math.max(1, numWarmupSteps);
}

/** A schedule's factor of the initial rate by the step, given the first group's initial rate. */
export type MakeFactor = (options: Given, lr: number) => (step: number) => number;

/** What a schedule is made of. */
export interface Given extends SchedulerSettings {
  readonly name: SchedulerType;
  readonly warmupSteps: number;
  readonly numTrainingSteps?: number;
}

/** Fails for options that do not fit. */
export function refuse(name: SchedulerType, wanted: string, received = "none"): never {
  throw new TypeError(`Cannot make schedule "${name}": ${wanted}, received ${received}`);
}

/** The steps of the whole training. @throws {TypeError} if nobody says it */
export function trainingSteps({ name, numTrainingSteps }: Given): number {
  return numTrainingSteps ?? refuse(name, "numTrainingSteps is required");
}
