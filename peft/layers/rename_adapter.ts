/**
 * Renames an adapter in the modules that hold it.
 * @module
 */

import { type Module, ModuleDict, ParameterDict } from "../../nn/mod.ts";

/** What a module may keep by adapter. */
type ByAdapter = ModuleDict | ParameterDict | Map<string, unknown>;

function isByAdapter(value: unknown): value is ByAdapter {
  return value instanceof ModuleDict || value instanceof ParameterDict || value instanceof Map;
}

/** Renames an adapter in the dictionaries that a wrapper has as properties; the order stays. */
export function renameIn(wrapper: Module, from: string, to: string): void {
  for (const value of Object.values(wrapper)) {
    if (!isByAdapter(value) || !value.has(from)) continue;
    if ("rename" in value && typeof value.rename === "function") value.rename(from, to);
    else if (value instanceof Map) renameKey(value, from, to);
  }
}

/** Renames a key of a map in its place. */
export function renameKey<Value>(map: Map<string, Value>, from: string, to: string): void {
  const entries = [...map].map(([key, value]) => [key === from ? to : key, value] as const);
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}
