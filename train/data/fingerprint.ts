/**
 * A number by which a resumed run knows the data again.
 * @module
 */

import type { Dataset } from "./example.ts";

/** Examples that are looked at. */
const EXAMPLES = 8;

/** FNV-1a (Fowler, Noll, Vo) of a few examples, evenly spread: not of all, which may be read from large files. */
export async function fingerprintOf(dataset: Dataset): Promise<string> {
  const count = Math.min(EXAMPLES, dataset.length);
  let hash = 0x811c9dc5;
  for (let i = 0; i < count; i++) {
    const example = await dataset.at(Math.floor(i * dataset.length / count));
    for (const [name, values] of Object.entries(example ?? {}).sort(([a], [b]) => a < b ? -1 : 1)) {
      for (const part of [name, ...Array.isArray(values) ? values : [JSON.stringify(values)]]) {
        const text = `${part} `;
        for (let k = 0; k < text.length; k++) hash = Math.imul(hash ^ text.charCodeAt(k), 0x01000193);
      }
    }
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}
