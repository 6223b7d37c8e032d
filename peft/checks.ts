/**
 * Checks of configuration values.
 * @module
 */

import { refuseConfig } from "./config.ts";
import type { TargetFields } from "./targets.ts";

/** Fails unless `value` is a finite number from `low` to `high`. @throws {RangeError} */
export function checkFiniteNumber(
  method: string,
  name: string,
  value: unknown,
  low: number,
  high: number = Infinity,
): void {
  if (typeof value === "number" && Number.isFinite(value) && value >= low && value <= high) return;
  const range = low === -Infinity
    ? "a finite number"
    : high === Infinity
    ? `a number of at least ${low}`
    : `a number from ${low} to ${high}`;
  refuseConfig(method, `${name} must be ${range}, received ${value}`);
}

const isNames = (value: unknown): boolean =>
  Array.isArray(value) && value.every((entry) => typeof entry === "string");

/** Fails unless `value` is null, a list of names, or with `pattern` a string. @throws {RangeError} */
export function checkNames(method: string, name: string, value: unknown, pattern: boolean): void {
  if (value === null || isNames(value) || (pattern && typeof value === "string")) return;
  const wanted = pattern ? "a list of names, a string or null" : "a list of names or null";
  refuseConfig(method, `${name} must be ${wanted}, received ${JSON.stringify(value)}`);
}

/** Fails unless `value` is true or false. @throws {RangeError} */
export function checkFlag(method: string, name: string, value: unknown): void {
  if (typeof value !== "boolean") {
    refuseConfig(method, `${name} must be true or false, received ${JSON.stringify(value)}`);
  }
}

/** Fails unless `value` is null, the number of a block, or a list of such. @throws {RangeError} */
export function checkLayers(method: string, name: string, value: unknown): void {
  if (value === null || [value].flat().every((layer) => Number.isInteger(layer) && (layer as number) >= 0)) {
    return;
  }
  refuseConfig(
    method,
    `${name} must be a number from 0, a list of such, or null, received ${JSON.stringify(value)}`,
  );
}

/** Fails unless `value` maps patterns to values. @throws {RangeError} */
export function checkPatternTable(method: string, name: string, value: unknown): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuseConfig(method, `${name} must map patterns to numbers, received ${JSON.stringify(value)}`);
  }
}

/** Fails unless `value` is an integer of at least `low`. @throws {RangeError} */
export function checkInteger(method: string, name: string, value: unknown, low: number): void {
  if (!Number.isInteger(value) || (value as number) < low) {
    refuseConfig(method, `${name} must be an integer of at least ${low}, received ${JSON.stringify(value)}`);
  }
}

/** Fails unless `value` is a positive integer, in `peft`'s words for a rank. @throws {RangeError} */
export function checkRank(method: string, name: string, value: unknown): void {
  if (Number.isInteger(value) && (value as number) > 0) return;
  refuseConfig(method, `\`${name}\` should be a positive integer value but the value passed is ${value}`);
}

/** Fails unless `value` is one of `choices`. @throws {RangeError} */
export function checkChoice(method: string, name: string, value: unknown, choices: readonly unknown[]): void {
  if (choices.includes(value)) return;
  const shown = choices.map((choice) => JSON.stringify(choice));
  refuseConfig(
    method,
    `${name} must be ${shown.slice(0, -1).join(", ")} or ${shown.at(-1)}, received ${JSON.stringify(value)}`,
  );
}

/** Checks the fields that choose modules, by `peft`'s rules. @throws {RangeError} for a wrong value or combination */
export function checkTargets(method: string, fields: TargetFields): void {
  checkNames(method, "target_modules", fields.targetModules, true);
  checkNames(method, "exclude_modules", fields.excludeModules ?? null, true);
  checkNames(method, "modules_to_save", fields.modulesToSave, false);
  checkNames(method, "layers_pattern", fields.layersPattern ?? null, true);
  checkLayers(method, "layers_to_transform", fields.layersToTransform ?? null);
  if ((fields.layersToTransform ?? null) !== null && typeof fields.targetModules === "string") {
    refuseConfig(method, "`layers_to_transform` cannot be used when `target_modules` is a str.");
  }
  if ((fields.layersPattern ?? null) !== null && (fields.layersToTransform ?? null) === null) {
    refuseConfig(
      method,
      "When `layers_pattern` is specified, `layers_to_transform` must also be specified. ",
    );
  }
}

const isTokens = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length > 0 && new Set(value).size === value.length &&
  value.every((id) => Number.isInteger(id) && id >= 0);

/** Fails unless `value` is a list of token ids, or with `byModule` null or a table of such lists. @throws {RangeError} */
export function checkTokenIndices(method: string, name: string, value: unknown, byModule: boolean): void {
  if (isTokens(value)) return;
  const table = typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.values(value)
    : [];
  if (byModule && (value === null || table.length > 0 && table.every(isTokens))) return;
  const wanted = "a list of different token ids from 0" +
    (byModule ? ", a table of module names to such, or null" : "");
  refuseConfig(method, `${name} must be ${wanted}, received ${JSON.stringify(value)}`);
}
