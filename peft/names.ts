/**
 * Names a user may have meant.
 * @module
 */

/** Edits that turn one string into the other (Levenshtein 1966). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}

/** The `count` names nearest to `wanted`, nearest first. */
export function nearestNames(wanted: string, names: Iterable<string>, count = 5): string[] {
  const short = wanted.slice(0, 200);
  const scored = [...new Set(names)].map((name) => ({
    name,
    distance: editDistance(short, name.slice(0, 200)),
  }));
  return scored.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1)).slice(0, count).map((
    s,
  ) => s.name);
}

/** `"a", "b"`. */
export function quoteAll(names: Iterable<string>): string {
  return [...names].map((name) => JSON.stringify(name)).join(", ");
}
