/**
 * Files of texts and of rows to learn, for `TextDataset`.
 * @module
 */

import type { FileInput } from "../../io/file_source.ts";
import { openFile } from "../../io/open_file.ts";
import { chatExample, type ChatTokenizer } from "./chat_example.ts";
import type { Example, TextTokenizer } from "./example.ts";
import type { FormatName } from "./files/formats.ts";
import { RowReader } from "./row_reader.ts";
import { languageOf, type LanguageRow, type Row } from "./rows.ts";

/**
 * Options of `TextDataset`.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, TextDataset } from "@peft/webgpu";
 * import type { TextDatasetOptions } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const options: TextDatasetOptions = { blockSize: 16, format: "text" }; // whatever the name ends with
 * const dataset = await TextDataset.fromFile(new Blob(["Ahoy, matey! ".repeat(20)]), tokenizer, options);
 * console.log(dataset.blockSize); // 16
 * ```
 */
export interface TextDatasetOptions {
  /** Tokens per block. */
  blockSize: number;
  /** Default: by the end of the name, else "text". */
  format?: FormatName;
}

/** A row as one example. @throws {TypeError} for a conversation without a chat template, or one that does not fit it */
function exampleOf(
  row: Exclude<LanguageRow, { text: string }>,
  tokenizer: TextTokenizer,
  blockSize: number,
): Example {
  if ("completion" in row) return completionExample(row, tokenizer, blockSize);
  const { inputIds, labels = inputIds, attentionMask, sequenceIds }: Example = "messages" in row
    ? chatExample(chatTokenizer(tokenizer), row.messages, row)
    : row;
  const cut = (values: readonly number[]) => values.slice(0, blockSize);
  return {
    inputIds: cut(inputIds),
    labels: cut(labels),
    ...attentionMask && { attentionMask: cut(attentionMask) },
    ...sequenceIds && { sequenceIds: cut(sequenceIds) },
  };
}

/** @throws {TypeError} for one that has no chat templates */
function chatTokenizer(tokenizer: TextTokenizer): ChatTokenizer {
  if ("applyChatTemplate" in tokenizer) return tokenizer as ChatTokenizer;
  throw new TypeError("a tokenizer with chat templates is required for conversations, received one without");
}

/** Prompt and completion as one example: labels are -100 over the prompt, whose beginning is cut if it is too long. */
function completionExample(
  { prompt, completion }: { readonly prompt: string; readonly completion: string },
  tokenizer: TextTokenizer,
  blockSize: number,
): Example {
  const eos = tokenizer.eosTokenId;
  const answer = [...tokenizer.encode(completion), ...eos === null ? [] : [eos]].slice(0, blockSize - 1);
  const question = tokenizer.encode(prompt);
  const kept = question.slice(Math.max(0, question.length - (blockSize - answer.length)));
  return { inputIds: [...kept, ...answer], labels: [...kept.map(() => -100), ...answer] };
}

/** What a file holds: texts to be packed into blocks, and rows that are examples of their own. */
export interface TextFile {
  /** What messages call it. */
  readonly name: string;
  readonly texts: readonly string[];
  readonly examples: readonly Example[];
}

/**
 * Reads a file as `TextDataset.fromFile` says.
 * @throws {TypeError} if the file is not UTF-8, or a line is no row to learn, naming the line
 * @throws {RangeError} for an example without a label, or of less than two tokens
 */
export async function readTextFile(
  input: FileInput,
  tokenizer: TextTokenizer,
  options: TextDatasetOptions,
): Promise<TextFile> {
  const source = await openFile(input);
  const reader = new RowReader({ format: options.format ?? null, otherwise: "text", onBadRow: "error" });
  const part = await reader.read(source, false);
  const texts: string[] = [];
  const examples: Example[] = [];
  for (let i = 0; i < part.length; i++) {
    const row = languageOf(part.at(i) as Row); // in memory
    const where = part.where(i);
    if (!row) {
      throw new TypeError(
        `Cannot read ${where}: a text or an answer to learn is required, received "chosen" and "rejected", which preference tuning takes`,
      );
    }
    if ("text" in row) {
      texts.push(row.text);
      continue;
    }
    let example: Example;
    try {
      example = exampleOf(row, tokenizer, options.blockSize);
    } catch (cause) {
      const message = (cause as Error).message.replace(/^Cannot/, "cannot");
      throw new TypeError(`Cannot read ${where}: ${message}`, { cause });
    }
    const { length } = example.inputIds;
    if (length < 2) {
      throw new RangeError(
        `Cannot read ${where}: at least two tokens are required, received ${length}`,
      );
    }
    if (!example.labels!.some((label, t) => t > 0 && label !== -100)) {
      throw new RangeError(
        `Cannot read ${where}: a label in the first ${options.blockSize} tokens is required, received none; raise blockSize`,
      );
    }
    examples.push(example);
  }
  return { name: source.name, texts, examples };
}
