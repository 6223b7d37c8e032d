/**
 * Matches the keys of adapter files, in whichever form they come.
 * @module
 */

import type { AdapterValues } from "./adapter_files.ts";

/**
 * Renames keys to those of the adapter, where they differ only by the adapter's name or by `base_model.model.`.
 * @param known keys of the adapter
 */
export function matchKeys(
  values: AdapterValues,
  known: ReadonlySet<string>,
  adapterName: string,
  prefixes: readonly string[],
): AdapterValues {
  const matched = new Map<string, AdapterValues extends ReadonlyMap<string, infer V> ? V : never>();
  for (const [key, value] of values) {
    const plain = key.split(".").filter((part) => part !== adapterName).join(".");
    const candidates = [key, plain].flatMap((name) => [
      name,
      ...prefixes.filter((prefix) => name.startsWith(prefix)).map((prefix) => name.slice(prefix.length)),
    ]);
    const hit = candidates.find((name) => known.has(name) && (name === key || !values.has(name)));
    matched.set(hit ?? key, value);
  }
  return matched;
}
