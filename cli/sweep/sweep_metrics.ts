/**
 * What a running sweep counts, in Prometheus' text format.
 * @module
 */

import { Gauge, Registry } from "prom-client";
import type { TrialStatus } from "./controller.ts";

const STATES: readonly TrialStatus["state"][] = ["waiting", "running", "trained", "ended early", "failed"];

/** Gauges of a sweep, whose trials are read when they are asked for. */
export function sweepMetrics(name: string, trials: readonly TrialStatus[]): Registry {
  const registry = new Registry();
  const labelNames = ["sweep", "state"] as const;
  new Gauge({
    ...{ name: "peft_sweep_trials", help: "Trials by how they stand", labelNames, registers: [registry] },
    collect() {
      for (const state of STATES) {
        this.set({ sweep: name, state }, trials.filter((trial) => trial.state === state).length);
      }
    },
  });
  new Gauge({
    ...{ name: "peft_sweep_steps", help: "Optimizer steps of all trials", labelNames: ["sweep"] as const },
    registers: [registry],
    collect() {
      this.set({ sweep: name }, trials.reduce((sum, { step }) => sum + step, 0));
    },
  });
  return registry;
}
