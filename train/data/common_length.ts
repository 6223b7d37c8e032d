/**
 * Where two rows of ids part.
 * @module
 */

/** How many ids two rows share from their beginning on. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}
