/**
 * Rows of training data, recognised by their keys.
 * @module
 */

import { checkOptions } from "../../options/names.ts";
import { conversationProblem, isMessages, type Message } from "./conversations.ts";

export type { Message } from "./conversations.ts";

/**
 * A text, or messages for the chat template.
 *
 * @example
 * ```ts
 * import type { Words } from "@peft/webgpu/train";
 *
 * const textOf = (words: Words) =>
 *   typeof words === "string" ? words : words.map(({ role, content }) => `${role}: ${content}`).join("\n");
 * console.log(textOf("Ahoy"), textOf([{ role: "user", content: "Who are you?" }])); // Ahoy user: Who are you?
 * ```
 */
export type Words = string | readonly Message[];

/**
 * Two answers to one prompt, the better and the worse; all three texts, or all three messages.
 *
 * @example
 * ```ts
 * import type { PreferenceRow } from "@peft/webgpu/train";
 *
 * const pairs: PreferenceRow[] = [
 *   { prompt: "The sea be", chosen: " calm, matey.", rejected: " calm." },
 *   {
 *     prompt: [{ role: "user", content: "Who are you?" }],
 *     chosen: [{ role: "assistant", content: "A pirate, arr!" }],
 *     rejected: [{ role: "assistant", content: "A language model." }],
 *   },
 * ];
 * console.log(pairs.length); // trainDataset of a DPOTrainer
 * ```
 */
export interface PreferenceRow {
  /** What both answers follow; may be empty. */
  readonly prompt: Words;
  /** The better answer, without the prompt. */
  readonly chosen: Words;
  /** The worse answer, without the prompt. */
  readonly rejected: Words;
  /** What language modelling learns of the row, where it has that too, such as `messages` beside two answers. */
  readonly language?: LanguageRow;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
}

/**
 * One answer and whether it is wanted, as KTO learns from; texts, or messages.
 *
 * @example
 * ```ts
 * import type { UnpairedRow } from "@peft/webgpu/train";
 *
 * const judged = (prompt: string, completion: string, thumb: "up" | "down"): UnpairedRow =>
 *   ({ prompt, completion, label: thumb === "up" });
 * const rows = [judged("The sea be", " calm, matey.", "up"), judged("The sea be", " calm.", "down")];
 * console.log(rows.map(({ label }) => label)); // [ true, false ]: trainDataset of a KTOTrainer
 * ```
 */
export interface UnpairedRow {
  /** What the answer follows; may be empty. */
  readonly prompt: Words;
  /** The answer, without the prompt. */
  readonly completion: Words;
  /** Whether the answer is a good one. */
  readonly label: boolean;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
}

/**
 * What a row holds that a model learns word by word.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { LanguageRow, Row } from "@peft/webgpu/train";
 *
 * // what kind of row a file holds
 * function kindOf(row: LanguageRow): "text" | "completion" | "conversation" | "tokens" {
 *   if ("text" in row) return "text";
 *   if ("completion" in row) return "completion";
 *   return "messages" in row ? "conversation" : "tokens";
 * }
 * const row: Row = (await (await loadDataset("examples/demo/data/pirate.jsonl")).at(0))!;
 * if (!("chosen" in row || "label" in row)) console.log(kindOf(row)); // text
 * ```
 */
export type LanguageRow =
  /** A text, packed with others. */
  | { readonly text: string }
  /** A completion is learned, its prompt is not. */
  | { readonly prompt: string; readonly completion: string; readonly unreadLabel?: unknown }
  /** What the assistant says in messages from number `learnedFrom` on is learned. */
  | {
    readonly messages: readonly Message[];
    readonly learnedFrom: number;
    readonly tools?: readonly unknown[];
    /** A label beside prompt and completion that is no judgement. */
    readonly unreadLabel?: unknown;
  }
  /** Token ids. */
  | {
    readonly inputIds: readonly number[];
    readonly labels?: readonly number[];
    readonly attentionMask?: readonly number[];
    /** The document of each token, where several lie in the row. */
    readonly sequenceIds?: readonly number[];
  };

/**
 * What a row holds.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { Row } from "@peft/webgpu/train";
 *
 * const needs = (row: Row) => "chosen" in row ? "DPOTrainer" : "label" in row ? "KTOTrainer" : "SFTTrainer";
 * const rows = await loadDataset("examples/demo/data/pirate.jsonl");
 * console.log(needs((await rows.at(0))!)); // SFTTrainer
 * ```
 */
export type Row = LanguageRow | PreferenceRow | UnpairedRow;

/** Whether a row holds two answers to compare. */
export const isPreferenceRow = (row: Row): row is PreferenceRow => "chosen" in row;

/** Whether a row holds an answer and a judgement of it. */
export const isUnpairedRow = (row: Row): row is UnpairedRow => "label" in row;

/** What language modelling learns of a row: of a judged answer the answer, whatever the judgement; null for nothing. */
export function languageOf(row: Row): LanguageRow | null {
  if (isPreferenceRow(row)) return row.language ?? null;
  if (!isUnpairedRow(row)) return row;
  const { prompt, completion, tools } = row;
  if (typeof prompt === "string") return { prompt, completion: completion as string };
  return messagesOf(prompt, completion as readonly Message[], { ...tools && { tools } });
}

/** Messages of which those of the completion are learned. */
const messagesOf = (
  prompt: readonly Message[],
  completion: readonly Message[],
  others: { readonly tools?: readonly unknown[]; readonly unreadLabel?: unknown },
): LanguageRow => ({ messages: [...prompt, ...completion], learnedFrom: prompt.length, ...others });

type Given = Readonly<Record<string, unknown>>;

const isText = (value: unknown): value is string => typeof value === "string";
const isObject = (value: unknown): value is Given =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(Number.isInteger);

/** ShareGPT's names of who speaks. */
const SPEAKERS: Readonly<Record<string, string>> = {
  human: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  bing: "assistant",
  function_call: "assistant",
  observation: "tool",
};

/** ShareGPT's messages, `{ from, value }`, or messages under its key. */
function sharedMessages(value: unknown, system: unknown): Message[] | null {
  if (isMessages(value)) return value;
  if (!Array.isArray(value) || value.length === 0) return null;
  if (!value.every((turn) => isObject(turn) && isText(turn.from) && isText(turn.value))) return null;
  const turns = value.map(({ from, value }) => ({ role: SPEAKERS[from] ?? from, content: value }));
  return isText(system) && system !== "" ? [{ role: "system", content: system }, ...turns] : turns;
}

/** A question and its answer as messages. */
function exchange(system: unknown, question: string, answer: string): Row {
  const before = isText(system) && system !== "" ? [{ role: "system", content: system }] : [];
  const messages = [...before, { role: "user", content: question }, { role: "assistant", content: answer }];
  return { messages, learnedFrom: before.length + 1 };
}

/**
 * What two answers begin with, taken off both: characters, without a space at the end of them, or messages (TRL's
 * `extract_prompt`).
 */
function sharedPrompt<T extends Words>(chosen: T, rejected: T): PreferenceRow {
  const [a, b] = [chosen, rejected].map((words): string | string[] =>
    typeof words === "string" ? words : words.map(canonical)
  );
  let end = 0;
  while (end < Math.min(a.length, b.length) && a[end] === b[end]) end++;
  if (end > 0 && /^[\uD800-\uDBFF]$/.test(a[end - 1])) end--; // characters, not halves of them
  const differs = end < Math.min(a.length, b.length);
  if (differs && isText(a) && a[end - 1] === " ") end--;
  return { prompt: chosen.slice(0, end), chosen: chosen.slice(end), rejected: rejected.slice(end) };
}

/** A message as a text that is equal for equal messages. */
function canonical(value: unknown): string {
  return JSON.stringify(
    value,
    (_, inner) =>
      isObject(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1)) : inner,
  );
}

/** Two answers of one kind; null where they are not. */
function comparison({ prompt, chosen, rejected, ...row }: Given): Row | null {
  const texts = isText(chosen) && isText(rejected);
  if (!texts && !(isMessages(chosen) && isMessages(rejected))) return null;
  const isExplicit = texts ? isText(prompt) : isMessages(prompt);
  const read = isExplicit
    ? { prompt: prompt as Words, chosen, rejected }
    : sharedPrompt<Words>(chosen, rejected);
  return { ...read, ...tools(row) };
}

/** A judgement: true or false, 1 or 0, or either as text, as .csv has them; null for anything else. */
export function judgement(label: unknown): boolean | null {
  if (typeof label === "boolean") return label;
  if (label === 1 || label === 0) return label === 1;
  const word = isText(label) && /^\s*(?:(true|1)|false|0)\s*$/i.exec(label);
  return word ? word[1] !== undefined : null;
}

/** A label that is no judgement: language modelling does without, and KTO's message names it. */
const unread = ({ label }: Given) => label === undefined ? {} : { unreadLabel: label };

/** The document of each token, by their lengths (`seq_lengths` of TRL's packed rows). */
function documentsOf(lengths: readonly number[]): number[] {
  return lengths.flatMap((length, n) => new Array<number>(length).fill(n));
}

/** A form of rows: the keys that tell it, and what a row is read as; null where the values do not fit. */
interface Form {
  readonly keys: readonly string[];
  readonly read: (row: Given) => Row | null;
}

/** The functions of a row: a list, or JSON of one, as tables have it. */
function tools({ tools: given }: Given): { readonly tools?: readonly unknown[] } {
  if (Array.isArray(given)) return { tools: given };
  if (!isText(given) || !given.trimStart().startsWith("[")) return {};
  try {
    return { tools: JSON.parse(given) };
  } catch {
    return {};
  }
}

/** Every form; the first whose keys a row has. */
const FORMS: readonly Form[] = [
  {
    keys: ["input_ids"],
    read: ({ input_ids, labels, attention_mask, seq_lengths }) => {
      const others = [labels, attention_mask, seq_lengths];
      if (!isNumbers(input_ids) || !others.every((value) => value === undefined || isNumbers(value))) {
        return null;
      }
      return {
        inputIds: input_ids,
        ...isNumbers(labels) && { labels },
        ...isNumbers(attention_mask) && { attentionMask: attention_mask },
        ...isNumbers(seq_lengths) && { sequenceIds: documentsOf(seq_lengths) },
      };
    },
  },
  {
    keys: ["messages"],
    read: (row) =>
      isMessages(row.messages) ? { messages: row.messages, learnedFrom: 0, ...tools(row) } : null,
  },
  {
    keys: ["conversations"],
    read: (row) => {
      const messages = sharedMessages(row.conversations, row.system);
      return messages && { messages, learnedFrom: 0, ...tools(row) };
    },
  },
  {
    keys: ["prompt", "completion", "label"],
    read: ({ prompt, completion, label, ...row }) => {
      const wanted = judgement(label);
      if (wanted === null) return null;
      if (isText(prompt) && isText(completion)) return { prompt, completion, label: wanted };
      if (!isMessages(prompt) || !isMessages(completion)) return null;
      return { prompt, completion, label: wanted, ...tools(row) };
    },
  },
  {
    keys: ["prompt", "completion"],
    read: (row) => {
      const { prompt, completion } = row;
      if (isText(prompt) && isText(completion)) return { prompt, completion, ...unread(row) };
      if (!isMessages(prompt) || !isMessages(completion)) return null;
      return messagesOf(prompt, completion, { ...tools(row), ...unread(row) });
    },
  },
  {
    keys: ["instruction", "output"],
    read: ({ instruction, input, output, system }) => {
      if (!isText(instruction) || !isText(output)) return null;
      const question = isText(input) && input !== "" ? `${instruction}\n\n${input}` : instruction;
      return exchange(system, question, output);
    },
  },
  {
    keys: ["question", "answer"],
    read: ({ question, answer, system }) =>
      isText(question) && isText(answer) ? exchange(system, question, answer) : null,
  },
  { keys: ["text"], read: ({ text, prompt }) => isText(text) && prompt === undefined ? { text } : null },
];

/** Every column that a form reads. */
const COLUMNS: readonly string[] = [
  ...new Set(["chosen", "rejected", ...FORMS.flatMap(({ keys }) => keys)]),
  ...["input", "system", "tools", "labels", "attention_mask", "seq_lengths"],
];

/** Refuses names for columns that no form reads. @throws {TypeError} with the name that was meant */
export function checkColumns(action: string, columns: Readonly<Record<string, string>>): void {
  checkOptions(action, columns, COLUMNS, "column");
}

/** The forms in words, the simplest first. */
export const ROW_FORMS: string = [["chosen", "rejected"], ...FORMS.map(({ keys }) => keys)]
  .map((keys) => keys.map((key) => `"${key}"`).join(" with ")).reverse().join(", ").replace(
    /, ([^,]*)$/,
    " or $1",
  );

/** What a row is by the first form that it has. */
function firstForm(row: Given): Row | null {
  for (const { keys, read } of FORMS) {
    const found = keys.every((key) => row[key] !== undefined) && read(row);
    if (found) return found;
  }
  return null;
}

/** What a row holds, or in words what it is instead. */
export function readRow(value: unknown): Row | string {
  if (!isObject(value)) {
    return Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`;
  }
  const { chosen, rejected, ...others } = value;
  const pair = chosen !== undefined && rejected !== undefined ? comparison(value) : null;
  const row = firstForm(pair ? others : value);
  if (pair) return row && !isUnpairedRow(row) ? { ...pair, language: row as LanguageRow } : pair;
  if (row) return row;
  const problem = conversationProblem(value);
  if (problem) return problem;
  const keys = Object.keys(value).slice(0, 5).map((key) => JSON.stringify(key));
  return keys.length > 0 ? `other keys or other values: ${keys.join(", ")}` : "no key";
}
