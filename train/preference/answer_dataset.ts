/**
 * Rows with answers as a dataset: tokenized once, before the first use, and kept with what the reference says of them.
 * @module
 */

import type { Dataset, Example } from "../data/example.ts";

/**
 * Rows by number: an array of objects, or what `loadDataset` gives.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { PreferenceRows } from "@peft/webgpu/train";
 *
 * const inMemory: PreferenceRows = [{ prompt: "The sea", chosen: " be calm, arr.", rejected: " is calm." }];
 * const ofFile: PreferenceRows = await loadDataset("pairs.jsonl");
 * console.log(inMemory.length, ofFile.where!(0)); // either is a trainDataset
 * ```
 */
export interface PreferenceRows {
  /** How many there are. */
  readonly length: number;
  /** One of them, at once or later. */
  at(index: number): unknown;
  /** Where a row is, for messages: its file and line. */
  where?(index: number): string;
}

/**
 * An example with the log-probabilities that the reference gives its two rows.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { type AnswerExample, readPairs } from "@peft/webgpu/train";
 *
 * // tokens that an example takes in a batch: a pair has two rows, each as long as the longer one
 * const tokensOf = ({ inputIds, rejected }: AnswerExample) =>
 *   rejected ? 2 * Math.max(inputIds.length, rejected.inputIds.length) : inputIds.length;
 * const read = readPairs(await AutoTokenizer.fromPretrained("examples/demo/model"), { maxLength: 64 });
 * const [pair] = read({ prompt: "The sea", chosen: " be calm.", rejected: " is." });
 * console.log(tokensOf(pair!));
 * ```
 */
export interface AnswerExample extends Example {
  /** Of a pair: chosen and rejected. Of a single answer: its own, and that of another's answer to its prompt. */
  reference?: readonly [number, number];
  /** Of a pair: the row of the worse answer. */
  readonly rejected?: Required<Pick<Example, "inputIds" | "labels">>;
}

/**
 * Reads one row: its examples; null for each that is left out because its prompt is too long.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { type PairExample, type ReadAnswers, readPairs } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const read: ReadAnswers<PairExample> = readPairs(tokenizer, { maxLength: 8 });
 * const rows = [{ prompt: "The sea", chosen: " be calm.", rejected: " is." }, { prompt: "a ".repeat(9), chosen: "b", rejected: "c" }];
 * console.log(rows.flatMap(read).filter((example) => example === null).length); // 1: the prompt fills the row
 * ```
 */
export type ReadAnswers<E extends AnswerExample> = (value: unknown) => readonly (E | null)[];

/** Rows whose examples are put in order together (TRL makes two rows of each pair in batches of this size). */
const BLOCK = 1000;

/** Rows with answers, tokenized by `prepare`. */
export class AnswerDataset<E extends AnswerExample> implements Dataset {
  /** What it was made of. */
  readonly rows: PreferenceRows;
  readonly #read: ReadAnswers<E>;
  #examples: E[] | null = null;
  #reading: Promise<void> | null = null;
  /** Whether the examples know what the reference says. */
  hasReference = false;

  constructor(rows: PreferenceRows, read: ReadAnswers<E>) {
    this.rows = rows;
    this.#read = read;
  }

  /** Examples; known after `prepare`. */
  get length(): number {
    return this.#prepared.length;
  }

  /** An example; undefined outside. */
  at(index: number): E | undefined {
    return this.#prepared[index];
  }

  /** Tokens of an example, of the longest of its rows. */
  lengthOf(index: number): number {
    const { inputIds, rejected } = this.#prepared[index];
    return Math.max(inputIds.length, rejected?.inputIds.length ?? 0);
  }

  get #prepared(): readonly E[] {
    if (this.#examples) return this.#examples;
    throw new TypeError("Cannot use the rows: prepare() must be called first");
  }

  /**
   * Tokenizes the rows, the first time it is called.
   * @throws {TypeError} for a row that is not of the right kind, naming it @throws {RangeError} for no rows, and where
   * none is left
   */
  prepare(): Promise<void> {
    this.#reading ??= this.#tokenize();
    this.#reading.catch(() => this.#reading = null);
    return this.#reading;
  }

  async #tokenize(): Promise<void> {
    const { rows } = this;
    const total = rows.length;
    if (total === 0) {
      throw new RangeError("Cannot tune preferences: at least one row is required, received none");
    }
    const examples: E[] = [];
    let leftOut = 0;
    for (let first = 0; first < total; first += BLOCK) {
      const block: (readonly (E | null)[])[] = [];
      for (let i = first; i < Math.min(first + BLOCK, total); i++) {
        block.push(this.#readRow(await rows.at(i), i));
      }
      for (let k = 0; k < Math.max(...block.map((row) => row.length)); k++) {
        for (const { [k]: example } of block) {
          if (example) examples.push(example);
          else if (example === null) leftOut++;
        }
      }
    }
    const what = `${leftOut} of ${leftOut + examples.length} rows whose prompt alone has maxLength tokens`;
    if (examples.length === 0) {
      throw new RangeError(`Cannot tune preferences: nothing is left without ${what}; raise maxLength`);
    }
    if (leftOut > 0) console.warn(`Left out ${what}: nothing of their answers would remain.`);
    this.#examples = examples;
  }

  #readRow(value: unknown, index: number): readonly (E | null)[] {
    try {
      return this.#read(value);
    } catch (cause) {
      const where = this.rows.where?.(index) ?? `row ${index + 1}`;
      const { message, constructor } = cause as Error;
      const Class = constructor === RangeError ? RangeError : TypeError;
      throw new Class(`Cannot tune preferences, ${where}: ${message.replace(/^Cannot/, "cannot")}`, {
        cause,
      });
    }
  }
}
