/**
 * Checks of configuration values.
 * @module
 */

import { refuseConfig } from "./config.ts";

/** Fails unless `value` is a finite number from `low` to `high`. @throws {RangeError} */
export function checkFiniteNumber(
  method: string,
  name: string,
  value: unknown,
  low: number,
  high: number = Infinity,
): void {
  if (typeof value === "number" && Number.isFinite(value) && value >= low && value <= high) return;
  const range = high === Infinity ? `a number of at least ${low}` : `a number from ${low} to ${high}`;
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
