/**
 * Settings that decide which launches a step does, besides the shapes of its inputs: train or eval mode, which
 * parameters train, which adapters there are and which act. Each setter reports its change here; a recorded step is
 * kept under the key of the settings it was recorded under.
 * @module
 */

/** Two sums of 32-bit hashes, one hash for each setting that was changed: undoing a change takes its hash out again. */
const sums: [number, number] = [0, 0];
const ids = new WeakMap<object, number>();
let lastId = 0;

function idOf(object: object): number {
  let id = ids.get(object);
  if (id === undefined) ids.set(object, id = ++lastId);
  return id;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return JSON.stringify(value);
  return typeof value === "object" && value !== null ? `#${idOf(value)}` : `${value}`;
}

/** FNV-1a (Fowler, Noll, Vo) with MurmurHash3's last mixing. */
function hash(text: string, seed: number): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function count(text: string, sign: 1 | -1): void {
  sums[0] = (sums[0] + sign * hash(text, 0x811c9dc5)) >>> 0;
  sums[1] = (sums[1] + sign * hash(text, 0x9e3779b9)) >>> 0;
}

/**
 * Reports that `owner`'s setting `name` changes from `before` to `after`: numbers, booleans, strings, null, objects by
 * identity, or arrays of strings by value.
 */
export function noteSetting(owner: object, name: string, before: unknown, after: unknown): void {
  const [old, next] = [show(before), show(after)];
  if (old === next) return;
  const place = `${idOf(owner)} ${name} `;
  count(place + old, -1);
  count(place + next, 1);
}

/** Names the settings as they are now: the same text whenever they are all as they were before. */
export function settingsKey(): string {
  return sums.join(" ");
}
