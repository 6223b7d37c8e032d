/**
 * Pairs of answers, the better and the worse, as examples and batches.
 * @module
 */

import { type Batch, type DataCollator, defaultDataCollator } from "../data/data_loader.ts";
import type { Example } from "../data/example.ts";
import { isPreferenceRow } from "../data/rows.ts";
import type { AnswerExample, ReadAnswers } from "./answer_dataset.ts";
import {
  answerExample,
  idsOf,
  keysOf,
  type PreferenceTokenizer,
  readPreferenceRow,
  tokenizeAnswers,
  type Truncation,
} from "./answers.ts";

/**
 * A pair: the row of the better answer, with the worse one's beside it.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { type PairExample, readPairs } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const answerOf = ({ labels }: Pick<PairExample, "labels">) => tokenizer.decode(labels.filter((id) => id !== -100));
 * const [pair] = readPairs(tokenizer, { maxLength: 64 })({ prompt: "Once", chosen: " a dog", rejected: " a cat" });
 * console.log([answerOf(pair!), answerOf(pair!.rejected)]); // the two answers, each with the token that ends it
 * ```
 */
export interface PairExample extends AnswerExample {
  /** The better answer's tokens, -100 over the prompt. */
  readonly labels: readonly number[];
  /** The row of the worse answer. */
  readonly rejected: Required<Pick<Example, "inputIds" | "labels">>;
}

/** Pairs as one batch: B rows of better answers, then B rows of the worse. */
export interface PairBatch extends Batch {
  /** [2B] log-probabilities of the answers under the reference, where they were computed before. */
  reference?: number[];
}

const REQUIRED = '"chosen" and "rejected" (with "prompt", or texts that begin with it)';

/** A row as prompt and two answers, as ids. @throws {TypeError} for a row of another kind */
function pairOf(
  value: unknown,
  tokenizer: PreferenceTokenizer | undefined,
): { prompt: readonly number[]; answers: readonly (readonly number[])[] } {
  const [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"].map((name) =>
    idsOf(value, `${name}Ids`, `${name}_ids`)
  );
  if (prompt && chosen && rejected) return { prompt, answers: [chosen, rejected] };
  const row = readPreferenceRow(value, REQUIRED);
  if (!isPreferenceRow(row)) {
    throw new TypeError(`an object with ${REQUIRED} is required, received one with ${keysOf(row)}`);
  }
  if (!tokenizer) {
    throw new TypeError("a tokenizer is required for rows that are no token ids, received none");
  }
  return tokenizeAnswers(tokenizer, row.prompt, [row.chosen, row.rejected], row.tools);
}

/**
 * What reads a row of `prompt`, `chosen` and `rejected` as the example that `DPOTrainer` and its like train on; it gives
 * null where the prompt leaves no room for an answer, and throws a TypeError for a row of another kind.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { readPairs } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const read = readPairs(tokenizer, { maxLength: 64 });
 * console.log(read({ prompt: "Once", chosen: " a dog", rejected: " a cat" }));
 * ```
 */
export function readPairs(
  tokenizer: PreferenceTokenizer | undefined,
  truncation: Truncation,
): ReadAnswers<PairExample> {
  return (value) => {
    const { prompt, answers } = pairOf(value, tokenizer);
    const [chosen, rejected] = answers.map((answer) => answerExample(prompt, answer, truncation));
    return [chosen && rejected && { ...chosen, rejected }];
  };
}

/** Puts pairs into one batch, padded on the right. */
export function pairCollator(padTokenId: number): DataCollator {
  const collate = defaultDataCollator(padTokenId);
  return (examples): PairBatch => {
    const pairs = examples as readonly PairExample[];
    const row = ({ inputIds, labels }: PairExample) => ({ inputIds, labels });
    const batch = collate([...pairs.map(row), ...pairs.map(({ rejected }) => rejected)]);
    const reference = [0, 1].flatMap((k) => pairs.flatMap(({ reference }) => reference?.[k] ?? []));
    return reference.length === 2 * pairs.length ? { ...batch, reference } : batch;
  };
}
