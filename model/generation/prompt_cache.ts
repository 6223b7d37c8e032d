/**
 * Keys and values of texts that were computed before, so that a prompt which begins alike is computed from where it differs
 * (vLLM's automatic prefix caching): a system prompt that many share, the earlier messages of a conversation.
 * @module
 */

import type { GenerativeModel } from "./decode.ts";
import { commonStart } from "./kept_cache.ts";
import { KVCache } from "./kv_cache.ts";

/** A text that was computed. */
interface Entry {
  readonly adapter: string | null;
  readonly ids: readonly number[];
  /** One row, with the tokens of `ids`. */
  readonly cache: KVCache;
}

/** The beginning of a prompt that need not be computed. */
export interface KnownStart {
  /** Holds it as its first `length` tokens; undefined where nothing is known. */
  readonly cache: KVCache | undefined;
  /** Number of tokens; at least one of the prompt's is left out. */
  readonly length: number;
}

/** Fewer tokens than this are not worth the copies. */
const LEAST = 8;

/** Texts by the adapter that they were computed through, the one used last at the end. */
export class PromptCache {
  readonly #model: GenerativeModel;
  readonly #maxTokens: number;
  #entries: Entry[] = [];

  /** @param maxBytes of keys and values at most; 0 for none */
  constructor(model: GenerativeModel, maxBytes: number, bytesPerToken: number) {
    this.#model = model;
    this.#maxTokens = Math.floor(maxBytes / bytesPerToken);
  }

  /** The longest beginning of a prompt that is known. */
  find(adapter: string | null, prompt: readonly number[]): KnownStart {
    let best: Entry | undefined;
    let length = 0;
    for (const entry of this.#entries) {
      if (entry.adapter !== adapter) continue;
      const common = Math.min(commonStart(prompt, entry.ids), prompt.length - 1);
      if (common > length) [best, length] = [entry, common];
    }
    if (!best || length < LEAST) return { cache: undefined, length: 0 };
    this.#entries = [...this.#entries.filter((entry) => entry !== best), best];
    return { cache: best.cache, length };
  }

  /**
   * Keeps a text, in place of those that it continues; those used longest ago make room.
   * @param source holds its tokens in `row`, from column `first` on
   */
  keep(adapter: string | null, ids: readonly number[], source: KVCache, row: number, first: number): void {
    if (ids.length < LEAST || ids.length > this.#maxTokens) return;
    const own = this.#entries.filter((entry) => entry.adapter === adapter);
    if (own.some((entry) => entry.ids.length >= ids.length && commonStart(ids, entry.ids) === ids.length)) {
      return;
    }
    for (const entry of own) if (commonStart(entry.ids, ids) === entry.ids.length) this.#drop(entry);
    let tokens = this.#entries.reduce((sum, entry) => sum + entry.ids.length, ids.length);
    while (tokens > this.#maxTokens) {
      tokens -= this.#entries[0].ids.length;
      this.#drop(this.#entries[0]);
    }
    const cache = new KVCache(this.#model, this.#model.device, 1, ids.length);
    cache.copyTokens(source, { row, first, count: ids.length }, { row: 0, first: 0 });
    cache.length = ids.length;
    this.#entries.push({ adapter, ids: [...ids], cache });
  }

  #drop(entry: Entry): void {
    this.#entries = this.#entries.filter((other) => other !== entry);
    entry.cache.dispose();
  }

  /** Forgets everything, or what an adapter computed. */
  clear(adapter?: string | null): void {
    for (const entry of this.#entries) {
      if (adapter === undefined || entry.adapter === adapter) this.#drop(entry);
    }
  }
}
