/**
 * Names a user may have meant.
 * @module
 */

import { editDistance } from "../../options/names.ts";

/** The `count` names nearest to `wanted`, nearest first. */
export function nearestNames(wanted: string, names: Iterable<string>, count = 5): string[] {
  const distance = (name: string) => editDistance(wanted.slice(0, 200), name.slice(0, 200));
  const scored = [...new Set(names)].map((name) => ({ name, distance: distance(name) }));
  scored.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return scored.slice(0, count).map(({ name }) => name);
}

/** `"a", "b"`. */
export function quoteAll(names: Iterable<string>): string {
  return [...names].map((name) => JSON.stringify(name)).join(", ");
}

/** Names that a message shows of many. */
const SHOWN = 5;

/** The first few names in quotes, and how many more there are. */
export function quoteSome(names: readonly string[]): string {
  const more = names.length - SHOWN;
  return more > 1 ? `${quoteAll(names.slice(0, SHOWN))} and ${more} more` : quoteAll(names);
}
