/**
 * What a value is, in words: for messages about arguments of another kind than the wanted one.
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

/** Whether an object is a promise, which was not awaited. */
export const isPromise = (value: object): boolean => "then" in value && typeof value.then === "function";
