/**
 * Texts as blocks of token ids, for language modelling.
 * @module
 */

import type { FileInput } from "../io/file_source.ts";
import { openFile } from "../io/open_file.ts";

/** What a model trains on: one row of a batch. */
export interface Example {
  /** Token ids. */
  readonly inputIds: readonly number[];
  /** The tokens to predict, -100 for none; default `inputIds`. */
  readonly labels?: readonly number[];
  /** 1 for tokens, 0 for padding; default all tokens. */
  readonly attentionMask?: readonly number[];
}

/** Examples by number; an array of examples is one. */
export interface Dataset {
  /** How many there are. */
  readonly length: number;
  /** One of them. */
  at(index: number): Example | undefined;
}

/** The part of a tokenizer that is needed here. */
export interface TextTokenizer {
  /** Token ids of a text. */
  encode(text: string): number[];
  /** End of a text; null for none. */
  readonly eosTokenId: number | null;
}

/** Options of `TextDataset`. */
export interface TextDatasetOptions {
  /** Tokens per block. */
  blockSize: number;
  /** Default: "jsonl" for names that end in .jsonl or .json, else "text". */
  format?: "text" | "jsonl";
}

/** A row of a .jsonl file. */
type Row = { readonly text: string } | { readonly prompt: string; readonly completion: string };

function checkBlockSize(blockSize: number): void {
  if (Number.isInteger(blockSize) && blockSize >= 2) return;
  throw new RangeError(
    `Cannot make a dataset: blockSize must be an integer of at least 2, received ${blockSize}`,
  );
}

/** All characters of a file. */
async function readText(input: FileInput): Promise<{ name: string; text: string }> {
  const source = await openFile(input);
  try {
    const bytes = await source.read(0, source.size);
    try {
      return { name: source.name, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
    } catch (cause) {
      throw new TypeError(`Cannot read "${source.name}": UTF-8 text is required, received other bytes`, {
        cause,
      });
    }
  } finally {
    await source.close();
  }
}

function parseRow(name: string, number: number, line: string): Row {
  const fail = (received: string, cause?: unknown): never => {
    throw new TypeError(
      `Cannot read "${name}", line ${number}: an object with "text", or with "prompt" and "completion", is required, received ${received}`,
      { cause },
    );
  };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    return fail(`invalid JSON (${(cause as Error).message})`, cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return fail(Array.isArray(value) ? "an array" : value === null ? "null" : `a ${typeof value}`);
  }
  const { text, prompt, completion } = value as Record<string, unknown>;
  if (typeof text === "string" && prompt === undefined) return { text };
  if (typeof prompt === "string" && typeof completion === "string") return { prompt, completion };
  const keys = Object.keys(value).slice(0, 5).map((key) => JSON.stringify(key));
  return fail(keys.length > 0 ? `strings under other keys or other values: ${keys.join(", ")}` : "no key");
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

/** Blocks of token ids; labels are the ids themselves, and models shift them. */
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
   * Reads and tokenizes a file. Text, and the `text` rows of .jsonl, are packed as by `fromTexts` (a text file is one
   * document); each row with `prompt` and `completion` is one example, whose labels are -100 over the prompt.
   * @throws {TypeError} if the file is not UTF-8, or a line is not such a row, naming the line
   * @throws {RangeError} if there is nothing in it, or not enough for one block
   */
  static async fromFile(
    input: FileInput,
    tokenizer: TextTokenizer,
    options: TextDatasetOptions,
  ): Promise<TextDataset> {
    checkBlockSize(options.blockSize);
    const { name, text } = await readText(input);
    const format = options.format ?? (/\.jsonl?$/i.test(name) ? "jsonl" : "text");
    if (format === "text") return TextDataset.#pack(name, [text], [], tokenizer, options.blockSize);
    const texts: string[] = [];
    const examples: Example[] = [];
    text.split("\n").forEach((line, i) => {
      if (line.trim() === "") return;
      const row = parseRow(name, i + 1, line);
      if ("text" in row) {
        texts.push(row.text);
        return;
      }
      const example = completionExample(row, tokenizer, options.blockSize);
      if (example.inputIds.length < 2) {
        throw new RangeError(
          `Cannot read "${name}", line ${
            i + 1
          }: at least two tokens are required, received ${example.inputIds.length}`,
        );
      }
      examples.push(example);
    });
    return TextDataset.#pack(name, texts, examples, tokenizer, options.blockSize);
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
