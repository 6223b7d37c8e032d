/**
 * An (IA)^3 adapter made from others: its factors are the weighted sum of theirs.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { withFields } from "../config/peft_config.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import type { TunerLayer } from "../layers/tuner_layer.ts";
import type { IA3Config } from "../methods/ia3_config.ts";
import { matchesTarget, type TargetFields } from "../targets/targets.ts";
import { unionTargets } from "./union_targets.ts";
import type { Weighted, WeightedAdapterOptions, WeightedPlan } from "./weighted_lora.ts";

/** Computes the new adapter; the model is not changed yet. @throws {RangeError} for options, which are LoRA's */
export async function planWeightedIA3(
  model: Module,
  adapters: readonly Weighted<IA3Config>[],
  options: WeightedAdapterOptions,
): Promise<WeightedPlan> {
  const given = Object.keys(options);
  if (given.length > 0) {
    throw new RangeError(
      `Cannot add a weighted adapter: IA3 takes adapters, weights and a name, received ${
        given.join(", ")
      } too`,
    );
  }
  const sums: [TunerLayer, Float32Array<ArrayBuffer>][] = [];
  for (const [, layer] of tunerLayers(model)) {
    const parts = adapters.flatMap(({ name, weight }) =>
      layer.adapterParameters(name).map(([, factors]) => ({ factors, weight }))
    );
    if (parts.length === 0) continue;
    const values = await Promise.all(parts.map(({ factors }) => factors.data()));
    const sum = Float32Array.from(
      values[0],
      (_, i) => parts.reduce((total, { weight }, k) => total + weight * values[k][i], 0),
    );
    sums.push([layer, sum]);
  }
  const targets = unionTargets(model, adapters);
  const config = withFields(adapters[0].config, {
    ...targets,
    feedforwardModules: uniteFeedforward(adapters.map(({ config }) => config.feedforwardModules), targets),
    initIa3Weights: true,
  });
  return {
    config,
    write: (name) => {
      for (const [layer, sum] of sums) {
        for (const [, factors] of layer.adapterParameters(name)) factors.write(sum);
      }
    },
  };
}

/** Modules scaled at their input, as entries of the united targets where those are a list. */
function uniteFeedforward(
  all: readonly IA3Config["feedforwardModules"][],
  { targetModules }: TargetFields,
): IA3Config["feedforwardModules"] {
  const given = all.map((entry) => entry ?? []);
  const patterns = given.filter((entry) => typeof entry === "string");
  if (patterns.length > 0 && patterns.length < given.length) {
    throw new TypeError(
      "Cannot add a weighted adapter: All adapter configs should have the same type for target and feedforward modules.",
    );
  }
  if (patterns.length > 0) return [...new Set(patterns)].map((pattern) => `(${pattern})`).join("|");
  const united = [...new Set(given.flat())];
  return Array.isArray(targetModules) ? targetModules.filter((path) => matchesTarget(path, united)) : united;
}
