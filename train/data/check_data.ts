/**
 * Whether what a trainer is given as data can be data: said where it is given, not at the first row.
 * @module
 */

import { isPromise, kindOf } from "../../options/kinds.ts";

/**
 * Refuses what is no dataset; none at all is fine.
 * @param action what fails, such as `make a trainer`
 * @param name the option, such as `trainDataset`
 * @throws {TypeError} for anything but an array of rows, what `loadDataset` gives, or another dataset
 */
export function checkData(action: string, name: string, value: unknown): void {
  if (value === undefined || value === null) return;
  const isDataset = typeof value === "object" && !isPromise(value) && "length" in value && "at" in value &&
    typeof value.at === "function";
  if (isDataset) return;
  const advice = typeof value === "string"
    ? "; read a file with await loadDataset()"
    : typeof value === "object" && !isPromise(value)
    ? "; give one dataset, and others to evaluate()"
    : "";
  throw new TypeError(
    `Cannot ${action}: ${name} must be an array of rows, what loadDataset() reads, or another dataset, received ${
      kindOf(value)
    }${advice}`,
  );
}
