/**
 * Prompts with answers as token ids (TRL 1.16, `DPOTrainer._prepare_dataset`).
 * @module
 */

import { commonLength } from "../data/common_length.ts";
import type { TruncationMode } from "../data/truncation.ts";
import type { Example, TextTokenizer } from "../data/example.ts";
import { CONVERSATION } from "../data/conversations.ts";
import { rowProblem } from "../data/row_dataset.ts";
import { readRow, type Row, type Words } from "../data/rows.ts";

/**
 * The part of a tokenizer that preference tuning needs.
 *
 * @example
 * ```ts
 * import { type PreferenceTokenizer, readPairs } from "@peft/webgpu/train";
 *
 * const bytes: PreferenceTokenizer = {
 *   encode: (text) => [...new TextEncoder().encode(text)],
 *   eosTokenId: 0,
 *   padTokenId: 0,
 * };
 * const [pair] = readPairs(bytes, { maxLength: null })({ prompt: "Q: ", chosen: "A", rejected: "B" });
 * console.log(pair!.labels); // [ -100, -100, -100, 65, 0 ]
 * ```
 */
export interface PreferenceTokenizer extends TextTokenizer {
  /** Fills short rows. */
  readonly padTokenId: number | null;
  /** Ids of a conversation; needed for rows of messages. */
  applyChatTemplate?(
    messages: readonly { readonly role: string }[],
    options: { addGenerationPrompt: boolean; tools?: readonly unknown[] },
  ): number[];
  /** Writes its files. */
  savePretrained?(folder: string): Promise<unknown>;
}

/** A prompt and the answers to it, as ids. */
export interface TokenizedAnswers {
  /** What all answers follow. */
  readonly prompt: readonly number[];
  /** Each answer without the prompt. */
  readonly answers: readonly (readonly number[])[];
}

function conversation(
  tokenizer: PreferenceTokenizer,
  messages: readonly { readonly role: string }[],
  addGenerationPrompt: boolean,
  tools: readonly unknown[] | undefined,
): number[] {
  if (!tokenizer.applyChatTemplate) {
    throw new TypeError(
      "a tokenizer with chat templates is required for conversations, received one without",
    );
  }
  return tokenizer.applyChatTemplate(messages, { addGenerationPrompt, ...tools && { tools } });
}

/**
 * Tokenizes answers together with their prompt, so that they are what the model reads. An answer begins where prompt and
 * whole part, which is before the prompt's end if tokens merge across it. Texts end with the end-of-text token;
 * conversations as their template ends them.
 * @throws {TypeError} for messages where the tokenizer has no chat template
 */
export function tokenizeAnswers(
  tokenizer: PreferenceTokenizer,
  prompt: Words,
  answers: readonly Words[],
  tools?: readonly unknown[],
): TokenizedAnswers {
  const eos = tokenizer.eosTokenId;
  const withEnd = (ids: number[]) => eos === null || ids.at(-1) === eos ? ids : [...ids, eos];
  const before = typeof prompt === "string"
    ? tokenizer.encode(prompt)
    : conversation(tokenizer, prompt, true, tools);
  const wholes = answers.map((answer) =>
    typeof prompt === "string"
      ? withEnd(tokenizer.encode(`${prompt}${answer as string}`))
      : conversation(tokenizer, [...prompt, ...answer as Exclude<Words, string>], false, tools)
  );
  const length = Math.min(...wholes.map((whole) => commonLength(before, whole)));
  return { prompt: before.slice(0, length), answers: wholes.map((whole) => whole.slice(length)) };
}

/**
 * Which tokens are kept.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { readPairs, type Truncation } from "@peft/webgpu/train";
 *
 * const lastWords: Truncation = { maxLength: 16, truncationMode: "keep_end" }; // long prompts lose their beginning
 * const read = readPairs(await AutoTokenizer.fromPretrained("examples/demo/model"), lastWords);
 * const [pair] = read({ prompt: "The sea be calm. ".repeat(20), chosen: "Arr!", rejected: "Yes." });
 * console.log(pair!.inputIds.length); // 16
 * ```
 */
export interface Truncation {
  /** Most tokens of prompt and answer; null for all. */
  readonly maxLength: number | null;
  /** Default "keep_start". */
  readonly truncationMode?: TruncationMode;
}

/**
 * Prompt and answer as one example with labels for the answer alone; null where nothing of the answer would be left.
 * @throws {RangeError} for an answer without a token
 */
export function answerExample(
  prompt: readonly number[],
  answer: readonly number[],
  { maxLength, truncationMode = "keep_start" }: Truncation,
): Required<Pick<Example, "inputIds" | "labels">> | null {
  if (answer.length === 0) throw new RangeError("an answer of at least one token is required, received none");
  const limit = maxLength ?? Infinity;
  if (truncationMode === "keep_start" && prompt.length >= limit) return null;
  const from = truncationMode === "keep_end" ? Math.max(0, prompt.length + answer.length - limit) : 0;
  const cut = (ids: readonly number[]) => ids.slice(from, from + limit);
  return {
    inputIds: cut([...prompt, ...answer]),
    labels: cut([...prompt.map(() => -100), ...answer]),
  };
}

/** An object of a caller's. */
export type Given = Readonly<Record<string, unknown>>;

/** Ids under a camelCase name, or its snake_case, of a row that was tokenized before; null where there are none. */
export function idsOf(value: unknown, camel: string, snake: string): readonly number[] | null {
  const ids = (value as Given | null)?.[camel] ?? (value as Given | null)?.[snake];
  return Array.isArray(ids) && ids.every((id) => Number.isInteger(id) && id >= 0) ? ids : null;
}

/** A row that is no pre-tokenized one. @throws {TypeError} with what was required and received */
export function readPreferenceRow(value: unknown, required: string): Row {
  const row = readRow(value);
  if (typeof row !== "string") return row;
  if (row.startsWith(CONVERSATION)) throw new TypeError(rowProblem(row));
  throw new TypeError(`an object with ${required} is required, received ${row}`);
}

/** The keys of a row that is of another kind, for a message. */
export function keysOf(row: object): string {
  return Object.keys(row).filter((key) => key !== "unreadLabel").map((key) => JSON.stringify(key)).join(", ");
}
