/**
 * An adapter made from others, with weights.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { checkNewName } from "../adapters/adapter_names.ts";
import type { Tuner } from "../adapters/tuner.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { savedModules, tunerLayers } from "../layers/find_layers.ts";
import { quoteAll } from "../targets/names.ts";
import { TrainableTokensLayer } from "../trainable_tokens/trainable_tokens_layer.ts";
import { planWeightedIA3 } from "./weighted_ia3.ts";
import {
  planWeightedLora,
  type Weighted,
  WEIGHTED_OPTIONS,
  type WeightedAdapterOptions,
  type WeightedPlan,
} from "./weighted_lora.ts";

type Planner = (
  model: Module,
  adapters: readonly Weighted<PeftConfig>[],
  options: WeightedAdapterOptions,
) => Promise<WeightedPlan>;

/** Methods whose adapters can be combined. */
const PLANNERS: Readonly<Record<string, Planner>> = {
  LORA: planWeightedLora as Planner,
  IA3: planWeightedIA3 as Planner,
};

const ACTION = "Cannot add a weighted adapter";

/**
 * Adds an adapter that is the weighted combination of others; it neither acts nor trains.
 * @throws {RangeError} for names that are unknown or taken, weights that do not fit, or what the method refuses; the
 * model is then unchanged
 */
export async function addWeightedAdapter<M extends Module>(
  tuner: Tuner<M>,
  adapters: readonly string[],
  weights: readonly number[],
  adapterName: string,
  options: WeightedAdapterOptions,
): Promise<void> {
  checkOptions("add a weighted adapter", options, WEIGHTED_OPTIONS);
  checkNewName(tuner.configs, adapterName);
  if (adapters.length === 0) {
    throw new RangeError(`${ACTION}: at least one adapter is required, received none`);
  }
  for (const name of adapters) tuner.checkName(name);
  if (weights.length !== adapters.length || !weights.every(Number.isFinite)) {
    throw new RangeError(
      `${ACTION}: a finite weight for each of ${adapters.length} adapters is required, received [${
        weights.join(", ")
      }]`,
    );
  }
  const weighted = adapters.map((name, i) => ({
    name,
    config: tuner.configs.get(name)!,
    weight: weights[i],
  }));
  const { peftType } = weighted[0].config;
  if (!Object.hasOwn(PLANNERS, peftType)) {
    throw new RangeError(
      `${ACTION}: adapters of ${quoteAll(Object.keys(PLANNERS))} are required, received "${peftType}"`,
    );
  }
  const trained = savedModules(tuner.model).map(([path, wrapper]) => ({
    path,
    names: adapters.filter((name) => wrapper.modules_to_save.has(name)),
  }));
  const shared = trained.filter(({ names }) => names.length > 1);
  if (shared.length > 0) {
    throw new RangeError(
      `${ACTION}: Cannot add weighted adapters if they target the same module with modules_to_save, but found ${shared.length} such instance(s).`,
    );
  }
  const tokens = tunerLayers(tuner.model).flatMap(([path, layer]) => {
    const names = layer instanceof TrainableTokensLayer
      ? adapters.filter((name) => layer.adapterParameters(name).length > 0)
      : [];
    return names.length > 0 ? [{ path, layer, names }] : [];
  });
  const [common] = tokens.filter(({ names }) => names.length > 1);
  if (common) {
    throw new RangeError(
      `${ACTION}: at most one adapter may train tokens of a module, ${
        common.names.join(", ")
      } do of "${common.path}"`,
    );
  }
  const { config, write } = await PLANNERS[peftType](tuner.model, weighted, options);
  checkNewName(tuner.configs, adapterName); // another one may have come while the values were read
  tuner.inject(config, adapterName);
  write(adapterName);
  for (const { path, names: [name] } of trained) {
    if (name === undefined) continue;
    const wrapper = tuner.savedModules().find(([at]) => at === path)![1];
    wrapper.modules_to_save.get(adapterName)?.loadStateDict(wrapper.modules_to_save.get(name)!.stateDict());
  }
  for (const { layer, names: [name] } of tokens) {
    const made = new Map(layer.adapterParameters(adapterName));
    for (const [key, rows] of layer.adapterParameters(name)) rows.device.copy(rows.view, made.get(key)!.view);
  }
}
