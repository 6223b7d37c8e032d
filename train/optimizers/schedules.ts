/**
 * The factors of learning rate schedules, with the formulas of `transformers.optimization`.
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
function warmup(step: number, numWarmupSteps: number): number {
  return step / Math.max(1, numWarmupSteps);
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

/** Fails for options that do not fit. */
export function refuse(name: SchedulerType, wanted: string, received = "none"): never {
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

/** Each schedule, by its name. */
export const SCHEDULES: Readonly<Record<SchedulerType, Schedule>> = {
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
