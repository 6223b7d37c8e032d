/**
 * Adapters of one model by name: which names are valid, which exist, and what may not be beside another.
 * @module
 */

import { checkOptions } from "../../options/names.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { quoteAll } from "../targets/names.ts";
import type { InjectOptions, MixedOption } from "./model_adapters.ts";

/** Adapters by name. */
export type AdapterConfigs = ReadonlyMap<string, PeftConfig>;

/** The name that stands for no adapter, in a batch whose rows have adapters of their own. */
export const BASE = "__base__";

/** What the options of merging say. @throws {TypeError} for one that does not exist */
export function mergeChoice(
  options: { readonly adapterNames?: readonly string[]; readonly safeMerge?: boolean },
  active: readonly string[],
): { readonly names: readonly string[]; readonly safe: boolean } {
  checkOptions("merge", options, ["adapterNames", "safeMerge"]);
  return { names: options.adapterNames ?? active, safe: options.safeMerge ?? false };
}

/** Options of adding an adapter, `getPeftModel`'s among them. */
const INJECT_OPTIONS = Object.keys(
  { seed: true, partly: true, encode: true, mixed: true } satisfies Record<
    keyof (InjectOptions & MixedOption),
    true
  >,
);

/** @throws {RangeError} if the name is taken, or no name @throws {TypeError} for an option that does not exist */
export function checkNewName(configs: AdapterConfigs, name: string, options: object = {}): void {
  checkOptions("add an adapter", options, INJECT_OPTIONS);
  if (configs.has(name)) {
    throw new RangeError(`Cannot add adapter "${name}": Adapter with name '${name}' already exists.`);
  }
  if (!/^[^.\s]+$/.test(name)) {
    throw new RangeError(`Cannot add adapter "${name}": a name without dots and spaces is required`);
  }
}

/** @throws {RangeError} if no adapter has the name */
export function checkName(configs: AdapterConfigs, name: string): void {
  if (!configs.has(name)) {
    throw new RangeError(
      `Cannot use adapter "${name}": Adapter ${name} does not exist, adapters here are ${
        quoteAll(configs.keys())
      }`,
    );
  }
}

/** The error for an adapter of a second method. */
export function mixedTypes(name: string, first: PeftConfig | undefined, second: PeftConfig): RangeError {
  return new RangeError(
    `Cannot add adapter "${name}": Cannot combine adapters with different peft types. Found ${first?.peftType} and ${second.peftType}.`,
  );
}

/** Only one adapter may train biases: the base has them once. @throws {RangeError} for a second one */
export function checkBiases(configs: AdapterConfigs, config: PeftConfig, name: string): void {
  if ((config.bias ?? "none") === "none") return;
  for (const [other, present] of configs) {
    if ((present.bias ?? "none") !== "none") {
      throw new RangeError(
        `Cannot add adapter "${name}": only one adapter may train biases, "${other}" does already; set bias "none"`,
      );
    }
  }
}
