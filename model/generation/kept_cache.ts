/**
 * Caches that outlive a generation (`transformers`' `past_key_values` of `generate`): the next prompt is computed only from
 * where it differs from the tokens that the cache holds.
 * @module
 */

import { settingsKey } from "../../autograd/settings.ts";
import type { GenerativeModel, RunStep } from "./decode.ts";
import type { KVCache } from "./kv_cache.ts";

const inUse = new WeakSet<KVCache>();

/** A cache that a generation was given; `end` must be called when it is over. */
export interface KeptCache {
  /**
   * Keeps the tokens of a finished or interrupted generation.
   * @param rows each row as the device chose its tokens: those the caller saw
   */
  end(rows: readonly (readonly number[])[]): void;
}

/** Number of tokens that begin both lists. */
export function commonStart(a: readonly number[], b: readonly number[]): number {
  const end = a.findIndex((id, at) => id !== b[at]);
  return end < 0 ? a.length : end;
}

/** @throws {RangeError} for a cache of another model, of another number of rows, of unknown tokens, or in use */
function check(cache: KVCache, model: GenerativeModel, batch: number): void {
  const refuse = (wanted: string, received: string) => {
    throw new RangeError(`Cannot generate with pastKeyValues: ${wanted} is required, received ${received}`);
  };
  if (!cache.fits(model)) refuse("a cache made for this model", "one of other sizes, or of another device");
  if (cache.batch !== batch) refuse(`a cache of ${batch} rows`, `one of ${cache.batch}`);
  if (inUse.has(cache)) refuse("a cache that no other generate() uses", "one in use");
  if (cache.length > 0 && !cache.held) {
    refuse("an empty cache, or one that generate() filled,", "one that forward() filled");
  }
}

/**
 * Crops a cache to the tokens that it has in common with the prompts, at least one of each prompt's left out, and makes
 * room. It is emptied where something else computed it: another model, other adapters; and for prompts with padding.
 * @param options.virtual number of virtual tokens before every row
 * @param options.capacity tokens that there must be room for
 * @throws {RangeError} for a cache that does not fit
 */
export function openKeptCache(
  cache: KVCache,
  model: GenerativeModel,
  { rows, padded, virtual, capacity, runStep }: {
    rows: readonly (readonly number[])[];
    padded: boolean;
    virtual: number;
    capacity: number;
    runStep: RunStep;
  },
): KeptCache {
  check(cache, model, rows.length);
  const settings = runStep(settingsKey);
  const before = cache.held;
  const usable = before && before.model === model && before.settings === settings && !padded &&
    cache.virtualTokens === virtual;
  const common = usable
    ? Math.min(...rows.map((row, i) => commonStart(row.slice(0, -1), before.rows[i])))
    : 0;
  cache.crop(common === 0 ? 0 : virtual + common);
  cache.reserve(capacity);
  cache.held = null; // until it is known what was computed
  inUse.add(cache);
  return {
    end(chosen) {
      inUse.delete(cache);
      const length = Math.min(cache.length - cache.virtualTokens, ...chosen.map((row) => row.length));
      cache.crop(padded || length <= 0 ? 0 : cache.virtualTokens + length);
      cache.held = { model, settings, rows: chosen.map((row) => row.slice(0, Math.max(0, length))) };
    },
  };
}
