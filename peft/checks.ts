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
