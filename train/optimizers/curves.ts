/**
 * The factors of schedules that are no straight lines, with the formulas of `transformers.optimization`.
 * @module
 */

import {
  type Given,
  type MakeFactor,
  refuse,
  type SchedulerType,
  type ScheduleShape,
  trainingSteps,
  warmup,
} from "./schedules.ts";

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

/** Schedules that are curves, by their names. */
const CURVES = {
  cosine: (given) => rising(given, wave(given.numCycles ?? 0.5, 0)),
  cosine_with_restarts: (given) =>
    rising(given, (progress) => {
      if (progress >= 1) return 0;
      return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((given.numCycles ?? 1) * progress % 1))));
    }),
  cosine_with_min_lr: (given, lr) => {
    const { minLr, minLrRate } = given;
    if ((minLr === undefined) === (minLrRate === undefined)) {
      refuse(given.name, "either minLr or minLrRate is required", minLr === undefined ? "neither" : "both");
    }
    return rising(given, wave(given.numCycles ?? 0.5, minLrRate ?? minLr! / lr));
  },
  polynomial: (given, lr) => {
    const { power = 1, lrEnd = 1e-7 } = given;
    if (!(lr > lrEnd)) {
      refuse(given.name, `lrEnd below the initial rate ${lr} is required`, `${lrEnd}`);
    }
    return rising(given, (progress) => {
      return progress >= 1 ? lrEnd / lr : ((lr - lrEnd) * (1 - progress) ** power + lrEnd) / lr;
    });
  },
  inverse_sqrt: ({ warmupSteps, timescale = warmupSteps || 10_000 }) => (step) => {
    if (step < warmupSteps) return warmup(step, warmupSteps);
    return 1 / Math.sqrt((step + timescale - warmupSteps) / timescale);
  },
  warmup_stable_decay: (given) => {
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
} as const satisfies Partial<Record<SchedulerType, MakeFactor>>;

/** The factor of a schedule that is a curve. */
export function curveOf(name: keyof typeof CURVES, given: Given, lr: number): (step: number) => number {
  return CURVES[name](given, lr);
}
