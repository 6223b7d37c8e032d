/**
 * Words that `generate` does not choose: `minNewTokens`, `suppressTokens` and `badWordsIds`, as `transformers`' processors
 * of these names rule them out.
 * @module
 */

import type { BannedWords } from "../../autograd/mod.ts";

/** Options that rule tokens out. */
export interface BanOptions {
  readonly minNewTokens?: number;
  readonly suppressTokens?: readonly number[];
  readonly badWordsIds?: readonly (readonly number[])[];
}

/**
 * The words that these options ban; null where they ban none.
 * @param eos tokens that end a row: banned until `minNewTokens` have been chosen
 * @throws {RangeError} for an option out of range
 */
export function bannedWords(
  { minNewTokens = 0, suppressTokens = [], badWordsIds = [] }: BanOptions,
  eos: readonly number[],
  vocabSize: number,
): BannedWords | null {
  const refuse = (name: string, wanted: string, value: unknown) => {
    throw new RangeError(`Cannot generate: ${name} must be ${wanted}, received ${JSON.stringify(value)}`);
  };
  if (!Number.isInteger(minNewTokens) || minNewTokens < 0) {
    refuse("minNewTokens", "an integer of at least 0", minNewTokens);
  }
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabSize;
  const ids = `token ids from 0 to ${vocabSize - 1}`;
  if (!Array.isArray(suppressTokens) || !suppressTokens.every(isId)) {
    refuse("suppressTokens", ids, suppressTokens);
  }
  const isWord = (word: unknown) => Array.isArray(word) && word.length > 0 && word.every(isId);
  if (!Array.isArray(badWordsIds) || !badWordsIds.every(isWord)) {
    refuse("badWordsIds", `lists of ${ids}`, badWordsIds);
  }
  const endings = minNewTokens > 0 ? eos.filter(isId).map((id) => [id]) : [];
  const always = [
    ...suppressTokens.map((id) => [id]),
    ...badWordsIds.filter((word) => !(word.length === 1 && eos.includes(word[0]))), // an end is no word
  ];
  const words = [...endings, ...always];
  return words.length === 0 ? null : { words, early: endings.length, steps: minNewTokens };
}

/** Sets the scores of what `ids` must not go on with to -Infinity, after `step` new tokens. */
export function banWords(
  scores: Float64Array,
  ids: readonly number[],
  { words, early, steps }: BannedWords,
  step: number,
): void {
  for (const word of step < steps ? words : words.slice(early)) {
    const tail = ids.length - word.length + 1;
    if (tail >= 0 && word.slice(0, -1).every((id, k) => ids[tail + k] === id)) {
      scores[word.at(-1)!] = -Infinity;
    }
  }
}
