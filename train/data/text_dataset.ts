/**
 * Texts as blocks of token ids, for language modelling.
 * @module
 */

import type { FileInput } from "../../io/file_source.ts";
import { openFile } from "../../io/open_file.ts";
import { chatExample, type ChatTokenizer } from "./chat_example.ts";
import type { Dataset, Example, TextTokenizer } from "./example.ts";
import type { FormatName } from "./files/formats.ts";
import { RowReader } from "./row_reader.ts";
import { languageOf, type LanguageRow, type Row } from "./rows.ts";

/** Options of `TextDataset`. */
export interface TextDatasetOptions {
  /** Tokens per block. */
  blockSize: number;
  /** Default: by the end of the name, else "text". */
  format?: FormatName;
}

function checkBlockSize(blockSize: number): void {
  if (Number.isInteger(blockSize) && blockSize >= 2) return;
  throw new RangeError(
    `Cannot make a dataset: blockSize must be an integer of at least 2, received ${blockSize}`,
  );
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

/**
 * Blocks of token ids; labels are the ids themselves, and models shift them.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, TextDataset } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const dataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 4 });
 * console.log(dataset.length, dataset.at(0));
 * ```
 */
export class TextDataset implements Dataset {
  /** Number of blocks. */
  readonly length: number;
  /** Most tokens per block. */
  readonly blockSize: number;
  readonly #ids: Int32Array;
  readonly #examples: readonly Example[];

  private constructor(ids: Int32Array, examples: readonly Example[], blockSize: number) {
    this.#ids = ids;
    this.#examples = examples;
    this.blockSize = blockSize;
    this.length = ids.length / blockSize + examples.length;
  }

  /**
   * Reads and tokenizes a file. Text, and the `text` rows of .jsonl and .json, are packed as by `fromTexts` (a text file
   * is one document). Each other row is one example: `prompt` with `completion` (texts or messages), `messages` (with
   * `tools`), ShareGPT's `conversations`, Alpaca's `instruction` with `output`, `question` with `answer`, or `input_ids`
   * with `labels`. Of a prompt, and of a conversation but for the assistant's words and what ends them, labels are -100.
   * Prompts that are too long lose their beginning, other rows their end.
   * @throws {TypeError} if the file is not UTF-8, or a line is not such a row, naming the line
   * @throws {RangeError} if there is nothing in it, or not enough for one block
   */
  static async fromFile(
    input: FileInput,
    tokenizer: TextTokenizer,
    options: TextDatasetOptions,
  ): Promise<TextDataset> {
    checkBlockSize(options.blockSize);
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
    return TextDataset.#pack(source.name, texts, examples, tokenizer, options.blockSize);
  }

  /**
   * Documents one after another with the end-of-text token between them, cut into blocks; what does not fill the last
   * block is dropped (`group_texts` of `transformers`' run_clm.py).
   * @throws {RangeError} if there is not enough for one block
   */
  static fromTexts(
    texts: Iterable<string>,
    tokenizer: TextTokenizer,
    options: { blockSize: number },
  ): TextDataset {
    checkBlockSize(options.blockSize);
    return TextDataset.#pack("texts", texts, [], tokenizer, options.blockSize);
  }

  static #pack(
    name: string,
    texts: Iterable<string>,
    examples: readonly Example[],
    tokenizer: TextTokenizer,
    blockSize: number,
  ): TextDataset {
    const pieces: number[][] = [];
    let size = 0;
    for (const text of texts) {
      const ids = tokenizer.encode(text);
      if (ids.length === 0) continue;
      if (pieces.length > 0 && tokenizer.eosTokenId !== null) {
        pieces.push([tokenizer.eosTokenId]);
        size++;
      }
      pieces.push(ids);
      size += ids.length;
    }
    if (examples.length === 0 && size < blockSize) {
      throw new RangeError(
        size === 0
          ? `Cannot make a dataset of "${name}": text is required, received none`
          : `Cannot make a dataset of "${name}": at least one block of ${blockSize} tokens is required, received ${size}; lower blockSize`,
      );
    }
    const ids = new Int32Array(Math.floor(size / blockSize) * blockSize);
    let at = 0;
    for (const piece of pieces) {
      ids.set(piece.slice(0, ids.length - at), at);
      at = Math.min(ids.length, at + piece.length);
    }
    return new TextDataset(ids, examples, blockSize);
  }

  /** Block `index`; undefined outside. */
  at(index: number): Example | undefined {
    const blocks = this.#ids.length / this.blockSize;
    if (index >= blocks) return this.#examples[index - blocks];
    if (index < 0) return undefined;
    const inputIds = Array.from(this.#ids.subarray(index * this.blockSize, (index + 1) * this.blockSize));
    return { inputIds, labels: inputIds };
  }
}
