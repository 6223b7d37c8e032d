/**
 * Every learning rate schedule, with the formulas of `transformers.optimization`.
 * @module
 */

import { curveOf } from "./curves.ts";
import {
  type MakeFactor,
  type SchedulerSettings,
  type SchedulerType,
  trainingSteps,
  warmup,
} from "./schedules.ts";

/** One schedule: what it takes, and its factor. */
interface Schedule {
  readonly settings: readonly (keyof SchedulerSettings)[];
  readonly factor: MakeFactor;
}

const curve: MakeFactor = (given, lr) => curveOf(given.name as Parameters<typeof curveOf>[0], given, lr);

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
  cosine: { settings: ["numCycles"], factor: curve },
  cosine_with_restarts: { settings: ["numCycles"], factor: curve },
  cosine_with_min_lr: { settings: ["numCycles", "minLr", "minLrRate"], factor: curve },
  polynomial: { settings: ["power", "lrEnd"], factor: curve },
  inverse_sqrt: { settings: ["timescale"], factor: curve },
  warmup_stable_decay: {
    settings: ["numStableSteps", "numDecaySteps", "warmupType", "decayType", "minLrRatio", "numCycles"],
    factor: curve,
  },
  constant: { settings: [], factor: () => () => 1 },
  constant_with_warmup: {
    settings: [],
    factor: ({ warmupSteps }) => (step) => step < warmupSteps ? warmup(step, warmupSteps) : 1,
  },
};

/** Loads what a schedule needs, which a bundle leaves out until a training asks for a curve. */
export async function loadSchedule(name: SchedulerType): Promise<void> {
  if (SCHEDULES[name]?.factor === curve) await import("./curves.ts");
}
