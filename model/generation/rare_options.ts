/**
 * What the options of `generate` ask for that most calls do without: loaded where a call has one of them.
 * @module
 */

import type { BannedWords } from "../../autograd/mod.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { bannedWords, type BanOptions } from "./banned_words.ts";
import type { GenerativeModel } from "./decode.ts";
import { type KeptCache, openKeptCache } from "./kept_cache.ts";
import type { KVCache } from "./kv_cache.ts";
import { StopStrings } from "./stop_strings.ts";

/** The options, as `GenerateOptions` describes them. */
interface Given extends BanOptions {
  readonly useCache?: boolean;
  readonly pastKeyValues?: KVCache;
  readonly tokenizer?: Tokenizer;
  readonly stopStrings?: string | readonly string[];
}

/** What the rare options of a call come to. */
export interface RareOptions {
  /** Words that are not chosen. */
  readonly banned: BannedWords | null;
  /** Texts that end a row. */
  readonly stop: StopStrings | null;
  /** Opens the cache that the caller keeps, as `openKeptCache` does. @throws {RangeError} for one that cannot be used */
  openCache?(model: GenerativeModel, use: Parameters<typeof openKeptCache>[2]): KeptCache;
}

/**
 * Reads them.
 * @param eos tokens that end a row
 * @throws {RangeError} for an option outside its range   @throws {TypeError} for texts that end a row without a tokenizer
 */
export function readRareOptions(
  options: Given,
  eos: readonly number[],
  vocabSize: number,
): RareOptions {
  const { minNewTokens, suppressTokens, badWordsIds, stopStrings, tokenizer } = options;
  const { pastKeyValues, useCache = true } = options;
  const bans = (minNewTokens ?? suppressTokens ?? badWordsIds) !== undefined;
  const rare = {
    banned: bans ? bannedWords(options, eos, vocabSize) : null,
    stop: stopStrings === undefined ? null : new StopStrings(stopStrings, tokenizer),
  };
  if (!pastKeyValues) return rare;
  return {
    ...rare,
    openCache(model, use) {
      if (useCache) return openKeptCache(pastKeyValues, model, use);
      throw new RangeError("Cannot generate with pastKeyValues: useCache must be true, received false");
    },
  };
}
