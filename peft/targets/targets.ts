/**
 * Which modules an adapter takes, by `peft`'s rules: a list matches whole names or their ends after a dot, a string is
 * a regular expression for the whole name, "all-linear" is every linear layer but the head.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { HEAD } from "./default_targets.ts";
import { nearestNames, quoteAll, quoteSome } from "./names.ts";
import { compilePattern } from "./pattern.ts";

/** Fields of a configuration that choose modules. */
export interface TargetFields {
  targetModules?: readonly string[] | string | null;
  excludeModules?: readonly string[] | string | null;
  layersToTransform?: number | readonly number[] | null;
  layersPattern?: string | readonly string[] | null;
  modulesToSave?: readonly string[] | null;
}

/** What a method can adapt. */
export interface TargetRules {
  /** Name of the method, for messages. */
  readonly method: string;
  /** Whether the method can take this module. */
  readonly supports: (module: Module) => boolean;
  /** Whether "all-linear" takes this module. */
  readonly isLinear: (module: Module) => boolean;
  /** Entries of a list that match nothing: an error, or a warning (files made elsewhere). */
  readonly partly: "error" | "warn";
}

/**
 * Chosen targets match no module of the model.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig, NoMatchingModuleError } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * try {
 *   getPeftModel(base, new LoraConfig({ targetModules: ["q_proj"] })); // GPT-2 has c_attn
 * } catch (error) {
 *   console.log(error instanceof NoMatchingModuleError, (error as Error).message);
 * }
 * ```
 */
export class NoMatchingModuleError extends TypeError {
  /** Name of the class. */
  override name = "NoMatchingModuleError";
}

/** Whether a name is an entry of a list, or ends in one after a dot. */
const endsIn = (name: string, entry: string) => name === entry || name.endsWith(`.${entry}`);

/** Whether a list or a pattern matches a module's name. */
export function matchesTarget(name: string, wanted: readonly string[] | string): boolean {
  if (typeof wanted === "string") return compilePattern(wanted).fullMatch(name);
  return wanted.some((entry) => endsIn(name, entry));
}

/** Index of the block a module is in: the number after `pattern`, or after the second name of the path. */
function layerIndex(name: string, pattern: string | readonly string[] | null | undefined): number | null {
  const patterns = pattern === null || pattern === undefined ? [] : [pattern].flat();
  const parts = name.split(".");
  for (let i = 1; i < parts.length - 1; i++) {
    if (!/^\d+$/.test(parts[i])) continue;
    // peft: ".*?\.[^.]*\.(\d+)\." by default, "(?:^|.*?\.){pattern}\.(\d+)\." with a pattern
    const before = parts.slice(0, i).join(".");
    if (patterns.length === 0 ? i >= 2 : patterns.some((p) => endsIn(before, p))) return Number(parts[i]);
  }
  return null;
}

/** Whether a module is in one of the blocks that a list of targets is limited to. */
function isInBlocks(
  name: string,
  { layersToTransform, targetModules, layersPattern }: TargetFields,
): boolean {
  if (!Array.isArray(targetModules)) return true;
  if (targetModules.includes(name)) return true; // an exact name is taken in any block
  const index = layerIndex(name, layersPattern);
  return index !== null && [layersToTransform].flat().includes(index);
}

/** Last parts of the names of modules that the method can take, for messages. */
function candidates(names: readonly string[]): string[] {
  return [...new Set(names.map((name) => name.split(".").at(-1)!))];
}

function refuseTargets(
  action: string,
  wanted: readonly string[] | string,
  areExcluded: boolean,
  supported: readonly string[],
): never {
  const shown = typeof wanted === "string" ? JSON.stringify(wanted) : `[${quoteSome(wanted)}]`;
  if (areExcluded) {
    throw new NoMatchingModuleError(
      `${action}: every module that targetModules ${shown} matches is excluded by excludeModules or modulesToSave`,
    );
  }
  const near = nearestNames([wanted].flat()[0] ?? "", candidates(supported));
  throw new NoMatchingModuleError(
    `${action}: targetModules ${shown} match no module; modules it can take here are ${quoteAll(near)}`,
  );
}

/**
 * Paths of the modules of `root` that the configuration names, in the order of the tree.
 * @throws {NoMatchingModuleError} if there are none, with the names that would match
 * @throws {TypeError} if a named module is one the method cannot take, or an entry of the list matches nothing
 */
export function findTargets(root: Module, fields: TargetFields, rules: TargetRules): string[] {
  const modules = [...root.namedModules()].filter(([name]) => name !== "");
  const wanted = fields.targetModules;
  const action = `Cannot apply ${rules.method}`;
  if (wanted === null || wanted === undefined) {
    throw new TypeError(`${action}: targetModules is required for this model, received none`);
  }
  const supported = modules.filter(([, module]) => rules.supports(module)).map(([name]) => name);
  const allLinear = typeof wanted === "string" && wanted.toLowerCase() === "all-linear";
  const isExcluded = (name: string) =>
    fields.excludeModules ? matchesTarget(name, fields.excludeModules) : false;
  const isSaved = (name: string) =>
    (fields.modulesToSave ?? []).some((entry) => `.${name}.`.includes(`.${entry}.`));
  const takesAllBlocks = (fields.layersToTransform ?? null) === null;
  const found: string[] = [];
  let excluded = 0;
  for (const [name, module] of modules) {
    const hit = allLinear ? rules.isLinear(module) && name !== HEAD : matchesTarget(name, wanted);
    if (!hit || !(takesAllBlocks || isInBlocks(name, fields))) continue;
    if (isExcluded(name) || isSaved(name)) {
      excluded++;
      continue;
    }
    if (!rules.supports(module)) {
      throw new TypeError(
        `${action}: target module "${name}" (${module.constructor.name}) is not supported, modules it can take here are ${
          quoteAll(candidates(supported))
        }`,
      );
    }
    found.push(name);
  }
  if (found.length === 0) refuseTargets(action, wanted, excluded > 0, supported);
  if (typeof wanted !== "string") reportUnmatched(modules.map(([name]) => name), wanted, supported, rules);
  return found;
}

/**
 * Paths of the modules that train whole: every path that ends in an entry, as in `peft` also inside a name ("norm" takes
 * "input_layernorm" too).
 * @throws {TypeError} if an entry matches nothing
 */
export function findModulesToSave(root: Module, entries: readonly string[]): string[] {
  const paths = [...root.namedModules()].map(([path]) => path);
  const found = new Set<string>();
  for (const entry of entries) {
    const hits = paths.filter((path) => path.endsWith(entry));
    if (hits.length === 0) {
      throw new TypeError(`Cannot add the adapter: modulesToSave entry "${entry}" matches no module`);
    }
    for (const hit of hits) found.add(hit);
  }
  return [...found];
}

function reportUnmatched(
  names: readonly string[],
  wanted: readonly string[],
  supported: readonly string[],
  rules: TargetRules,
): void {
  const unmatched = wanted.filter((entry) => !names.some((name) => endsIn(name, entry)));
  if (unmatched.length === 0) return;
  const hints = unmatched.map((entry) =>
    `${JSON.stringify(entry)} (nearest: ${quoteAll(nearestNames(entry, candidates(supported), 3))})`
  );
  const message = `Cannot apply ${rules.method}: entries of targetModules match no module: ${
    hints.join(", ")
  }`;
  if (rules.partly === "error") throw new NoMatchingModuleError(message);
  console.warn(message.replace("Cannot apply", "While loading"));
}

/** The value of the first pattern that a module's name matches, as `rank_pattern` and `alpha_pattern` choose it. */
export function patternValue(
  patterns: Readonly<Record<string, number>>,
  name: string,
  fallback: number,
): number {
  for (const [pattern, value] of Object.entries(patterns)) {
    // peft: re.match(rf"(.*\.)?({pattern})$", name)
    if (compilePattern(`(.*\\.)?(${pattern})$`).fullMatch(name)) return value;
  }
  return fallback;
}
