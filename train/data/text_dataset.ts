/**
 * Texts as blocks of token ids, for language modelling.
 * @module
 */

import type { FileInput } from "../../io/file_source.ts";
import { kindOf } from "../../options/kinds.ts";
import type { Dataset, Example, TextTokenizer } from "./example.ts";
import type { TextDatasetOptions } from "./text_file.ts";

export type { TextDatasetOptions };

function checkBlockSize(blockSize: number): void {
  if (Number.isInteger(blockSize) && blockSize >= 2) return;
  throw new RangeError(
    `Cannot make a dataset: blockSize must be an integer of at least 2, received ${blockSize}`,
  );
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
    const { readTextFile } = await import("./text_file.ts");
    const { name, texts, examples } = await readTextFile(input, tokenizer, options);
    return TextDataset.#pack(name, texts, examples, tokenizer, options.blockSize);
  }

  /**
   * Documents one after another with the end-of-text token between them, cut into blocks; what does not fill the last
   * block is dropped (`group_texts` of `transformers`' run_clm.py).
   * @throws {RangeError} if there is not enough for one block
   * @throws {TypeError} for one text in place of a list
   */
  static fromTexts(
    texts: Iterable<string>,
    tokenizer: TextTokenizer,
    options: { blockSize: number },
  ): TextDataset {
    checkBlockSize(options.blockSize);
    if (typeof texts === "string") {
      throw new TypeError(`Cannot make a dataset: a list of texts is required, received ${kindOf(texts)}`);
    }
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
