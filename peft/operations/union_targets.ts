/**
 * Targets of an adapter made from others: every module that one of them adapts.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import type { TargetFields } from "../targets/targets.ts";

type Adapter = { readonly name: string; readonly config: PeftConfig & TargetFields };

/** Fields that narrow the targets down. */
const NARROWING = ["excludeModules", "layersToTransform", "layersPattern"] as const;

/**
 * The fields that choose the modules of the union. Lists are united, patterns joined by "|", as in `peft`; where the
 * adapters narrow their targets down in different ways (which `peft` mixes up), the modules are listed by name.
 * @throws {TypeError} if some are lists and others patterns
 */
export function unionTargets(model: Module, adapters: readonly Adapter[]): TargetFields {
  const wanted = adapters.map(({ config }) => config.targetModules);
  const lists = wanted.filter((targets) => Array.isArray(targets)) as (readonly string[])[];
  if (lists.length > 0 && lists.length < wanted.length) {
    throw new TypeError(
      "Cannot add a weighted adapter: all adapter configs should follow the same target modules type. Combining adapters with `target_modules` type being a mix of list/set and string is not supported.",
    );
  }
  const saved = [...new Set(adapters.flatMap(({ config }) => config.modulesToSave ?? []))];
  const modulesToSave = saved.length > 0 ? saved : null;
  const [first] = adapters;
  const alike = adapters.every(({ config }) =>
    NARROWING.every((key) =>
      JSON.stringify(config[key] ?? null) === JSON.stringify(first.config[key] ?? null)
    )
  );
  if (!alike) {
    const names = new Set(adapters.map(({ name }) => name));
    const paths = tunerLayers(model).filter(([, layer]) => layer.adapterNames().some((n) => names.has(n)));
    const none = Object.fromEntries(NARROWING.map((key) => [key, null]));
    return { ...none, targetModules: paths.map(([path]) => path), modulesToSave };
  }
  const patterns = [...new Set(wanted)] as string[];
  return {
    targetModules: lists.length > 0
      ? [...new Set(lists.flat())]
      : patterns.length === 1
      ? patterns[0]
      : patterns.map((pattern) => `(${pattern})`).join("|"),
    modulesToSave,
  };
}
