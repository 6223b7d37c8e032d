/**
 * An adapter's configuration as its file says it.
 * @module
 */

import { Conv1D, type Module } from "../../nn/mod.ts";
import { type PeftConfig, withFields } from "../config/peft_config.ts";
import type { TargetFields } from "../targets/targets.ts";

/** The configuration as it is saved: full names for "all-linear", the model's defaults, the layout found. */
export function recordTargets(
  config: PeftConfig,
  fields: TargetFields,
  paths: string[],
  model: Module,
): PeftConfig {
  const { targetModules } = fields;
  const allLinear = typeof targetModules === "string" && targetModules.toLowerCase() === "all-linear";
  const layouts = paths.map((path) => model.getSubmodule(path)).filter((module) => "layout" in module);
  const last = layouts.at(-1); // peft sets the flag module by module: the last one's stays
  const { nameOrPath = null } = (model as { config?: { nameOrPath?: string | null } }).config ?? {};
  return withFields(config, {
    targetModules: allLinear ? paths : targetModules,
    baseModelNameOrPath: config.baseModelNameOrPath ?? nameOrPath,
    ...("fanInFanOut" in config && last
      ? { fanInFanOut: last instanceof Conv1D || last.layout === "conv1d" }
      : {}),
  });
}
