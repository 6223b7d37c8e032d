/**
 * Single answers and whether they are wanted, as examples and batches.
 * @module
 */

import { shown } from "../../options/rules.ts";
import { type Batch, type DataCollator, defaultDataCollator } from "../data/data_loader.ts";
import { isPreferenceRow, isUnpairedRow, judgement } from "../data/rows.ts";
import type { AnswerExample, ReadAnswers } from "./answer_dataset.ts";
import {
  answerExample,
  type Given,
  idsOf,
  keysOf,
  type PreferenceTokenizer,
  readPreferenceRow,
  tokenizeAnswers,
} from "./answers.ts";

/**
 * An answer to a prompt.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { readUnpaired, type UnpairedExample } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const show = ({ prompt, answer, isWanted }: UnpairedExample) =>
 *   `${isWanted ? "+" : "-"} ${tokenizer.decode([...prompt])} |${tokenizer.decode([...answer])}`;
 * const pair = { prompt: "Once", chosen: " a dog", rejected: " a cat" };
 * for (const example of readUnpaired(tokenizer, 64)(pair)) console.log(show(example!)); // + Once | a dog…, - Once | a cat…
 * ```
 */
export interface UnpairedExample extends AnswerExample {
  /** The answer's tokens, -100 over the prompt. */
  readonly labels: readonly number[];
  /** Ids of the prompt. */
  readonly prompt: readonly number[];
  /** Ids of the answer. */
  readonly answer: readonly number[];
  /** Whether it is a good one. */
  readonly isWanted: boolean;
}

/** Answers of N prompts as one batch. */
export interface UnpairedBatch extends Batch {
  /** [N] */
  wanted: boolean[];
  /** The prompts with the answer of the row before each, the first with the last one's; only for the KL term. */
  mismatched: Batch | null;
  /** [2N] log-probabilities under the reference, of the answers and of the mismatched ones, where computed before. */
  reference?: number[];
}

const REQUIRED = '"prompt", "completion" and "label" (true or false)';

function refuseLabel(label: unknown): never {
  throw new TypeError(
    `a label of true or false (or 1 or 0) is required, received ${shown(label)}`,
  );
}

/** A row as answers with their prompt and judgement. @throws {TypeError} for a row of another kind */
function answersOf(value: unknown, tokenizer: PreferenceTokenizer | undefined) {
  const [prompt, answer] = ["prompt", "completion"].map((name) => idsOf(value, `${name}Ids`, `${name}_ids`));
  if (prompt && answer) {
    const { label } = value as Given;
    const isWanted = judgement(label) ?? refuseLabel(label);
    return [{ prompt, answer, isWanted }];
  }
  const row = readPreferenceRow(value, REQUIRED);
  if (!isPreferenceRow(row) && !isUnpairedRow(row)) {
    for (const one of [row, value as object]) { // the value may be a row that was read before
      if ("unreadLabel" in one) refuseLabel(one.unreadLabel);
    }
    throw new TypeError(`an object with ${REQUIRED} is required, received one with ${keysOf(row)}`);
  }
  if (!tokenizer) {
    throw new TypeError("a tokenizer is required for rows that are no token ids, received none");
  }
  const given = isPreferenceRow(row)
    ? [{ words: row.chosen, isWanted: true }, { words: row.rejected, isWanted: false }]
    : [{ words: row.completion, isWanted: row.label }];
  const made = given.map(({ words }) => tokenizeAnswers(tokenizer, row.prompt, [words], row.tools));
  return made.map(({ prompt, answers: [answer] }, i) => ({ prompt, answer, isWanted: given[i].isWanted }));
}

/**
 * What reads a row of `prompt`, `completion` and `label` as the example that `KTOTrainer` trains on; a pair gives two. It
 * gives null where the prompt leaves no room for an answer, and throws a TypeError for a row of another kind.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { readUnpaired } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const read = readUnpaired(tokenizer, 64);
 * console.log(read({ prompt: "Once", completion: " a dog", label: true }));
 * ```
 */
export function readUnpaired(
  tokenizer: PreferenceTokenizer | undefined,
  maxLength: number | null,
): ReadAnswers<UnpairedExample> {
  return (value) =>
    answersOf(value, tokenizer).map((one) => {
      const example = answerExample(one.prompt, one.answer, { maxLength });
      return example && { ...example, ...one };
    });
}

/** Puts answers into one batch, padded on the right. @param mismatches whether the batch has mismatched answers, too */
export function unpairedCollator(
  padTokenId: number,
  maxLength: number | null,
  mismatches: boolean,
): DataCollator {
  const collate = defaultDataCollator(padTokenId);
  return (examples): UnpairedBatch => {
    const rows = examples as readonly UnpairedExample[];
    const batch = collate(rows.map(({ inputIds, labels }) => ({ inputIds, labels })));
    const others = rows.map(({ prompt }, i) => answerExample(prompt, rows.at(i - 1)!.answer, { maxLength })!);
    const reference = [0, 1].flatMap((k) => rows.flatMap(({ reference }) => reference?.[k] ?? []));
    return {
      ...batch,
      wanted: rows.map(({ isWanted }) => isWanted),
      mismatched: mismatches ? collate(others) : null,
      ...reference.length === 2 * rows.length && { reference },
    };
  };
}
