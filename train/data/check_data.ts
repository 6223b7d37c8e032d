/**
 * Whether what a trainer is given as data can be data: said where it is given, not at the first row.
 * @module
 */

/** What a value is, in words. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "string") return `the string ${JSON.stringify(value.slice(0, 100))}`;
  if (typeof value !== "object") return `a ${typeof value}`;
  if (isPromise(value)) return "a Promise; await it first";
  if (Array.isArray(value)) return "an array";
  const keys = Object.keys(value).slice(0, 5).map((key) => JSON.stringify(key));
  return keys.length > 0 ? `an object with ${keys.join(", ")}` : "an object without rows";
}

const isPromise = (value: object) => "then" in value && typeof value.then === "function";

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
