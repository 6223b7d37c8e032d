/**
 * Checks the names in an options object, so that a misspelt option is not ignored.
 * @module
 */

/** @internal Edits that turn one string into the other (Levenshtein 1966). */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + Number(a[i - 1] !== b[j - 1]));
    }
    row = next;
  }
  return row[b.length];
}

/** Edits above which a known name is not what was meant. */
const MOST_EDITS = 3;

/** @internal `max_new_tokens` as `maxNewTokens`. */
export function camelCase(name: string): string {
  return name.replace(/(?<=[^_])_+([a-zA-Z0-9])/g, (_, letter) => letter.toUpperCase());
}

/** @internal The known name that `name` was meant to be: the one with the fewest edits, if those are few for its length. */
export function meantName(name: string, known: readonly string[]): string | null {
  const wanted = camelCase(name).slice(0, 100).toLowerCase();
  let best: string | null = null;
  let fewest = Math.min(MOST_EDITS, wanted.length >> 1) + 1;
  for (const candidate of known) {
    const edits = editDistance(wanted, candidate.toLowerCase());
    if (edits < fewest) [best, fewest] = [candidate, edits];
  }
  return best;
}

/**
 * Refuses an option that does not exist, and names the one that was meant.
 * @param action what fails, such as `generate`
 * @param given the options of a caller; own enumerable names count, whatever their values; null and undefined are none
 * @param known every name that exists
 * @param kind what the names are; default options
 * @throws {TypeError} `Cannot generate: unknown option "max_new_tokens", did you mean "maxNewTokens"?`, or with the
 * list of known names if none is near
 */
export function checkOptions(
  action: string,
  given: object | null | undefined,
  known: readonly string[],
  kind: string = "option",
): void {
  const name = Object.keys(given ?? {}).find((name) => !known.includes(name));
  if (name !== undefined) {
    const meant = meantName(name, known);
    throw new TypeError(
      `Cannot ${action}: unknown ${kind} ${JSON.stringify(name.slice(0, 100))}, ${
        meant === null ? `the ${kind}s are "${known.join('", "')}"` : `did you mean "${meant}"?`
      }`,
    );
  }
}
