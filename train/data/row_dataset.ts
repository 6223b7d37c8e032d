/**
 * Rows by number, before they are tokenized.
 * @module
 */

import { HostRandom } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { CONVERSATION } from "./conversations.ts";
import { checkColumns, readRow, type Row, ROW_FORMS } from "./rows.ts";

/**
 * A row that was left out.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { SkippedRow } from "@peft/webgpu/train";
 *
 * const file = new Blob(['{"text":"Ahoy"}\n{"txet":"Arr"}\n']);
 * const { skipped } = await loadDataset(file, { format: "jsonl", onBadRow: "skip" });
 * console.log(skipped.map(({ where, problem }: SkippedRow) => `${where}: ${problem}`));
 * ```
 */
export interface SkippedRow {
  /** The file and the line, such as `"a.jsonl", line 3`. */
  readonly where: string;
  /** What is there instead of a row. */
  readonly problem: string;
}

/** Rows of one file, or of one list. */
export interface RowPart {
  readonly length: number;
  /** Whether a row of it is a text. */
  readonly hasTexts: boolean;
  /** A row; later where it is read again. */
  at(index: number): Row | Promise<Row>;
  /** Where a row is, in words. */
  where(index: number): string;
  close?(): Promise<void>;
}

/** A row by the usual names of columns. */
export function withNames(value: unknown, columns: Readonly<Record<string, string>>): unknown {
  const names = Object.entries(columns);
  if (names.length === 0 || typeof value !== "object" || value === null) return value;
  const given = value as Readonly<Record<string, unknown>>;
  return { ...given, ...Object.fromEntries(names.map(([name, column]) => [name, given[column]])) };
}

/** Skipped rows that are remembered; the others are counted. */
export const SKIPPED_SHOWN = 20;

/** What a row must be, and what there is. */
export function rowProblem(received: string): string {
  const wanted = received.startsWith(CONVERSATION)
    ? 'a list of messages, each with "role" and "content",'
    : `an object with ${ROW_FORMS}`;
  return `${wanted} is required, received ${received}`;
}

/**
 * Rows by number: those that `loadDataset` read, or a list of them. Trainers tokenize them as their settings say.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 *
 * const rows = await loadDataset(["chats.jsonl", "facts.csv.gz"], { onBadRow: "skip" });
 * const { train, test } = rows.trainTestSplit({ testSize: 0.1, seed: 1 });
 * console.log(train.length, test.length, rows.skippedCount);
 * ```
 */
export class RowDataset {
  /** Rows. */
  readonly length: number;
  /** Rows that were left out because they could not be read. */
  readonly skippedCount: number;
  /** The first of them. */
  readonly skipped: readonly SkippedRow[];
  readonly #parts: readonly RowPart[];
  /** Number of the first row of each part. */
  readonly #starts: readonly number[];
  /** The rows that are in it, by their numbers among all; null for all in order. */
  readonly #choice: Uint32Array | null;

  /** @internal Rows of several parts, in their order or as chosen. */
  constructor(
    parts: readonly RowPart[],
    choice: Uint32Array | null = null,
    skipped: { readonly count: number; readonly rows: readonly SkippedRow[] } = { count: 0, rows: [] },
  ) {
    this.#parts = parts;
    let total = 0;
    this.#starts = parts.map(({ length }) => (total += length) - length);
    this.#choice = choice;
    this.length = choice?.length ?? total;
    this.skippedCount = skipped.count;
    this.skipped = skipped.rows;
  }

  /**
   * Rows that are in memory already, in any of the forms that files may have.
   * @param columns names of columns where they are not the usual ones, by the usual ones
   * @throws {TypeError} for one that has none of them, naming its number, and for a name that no form has
   */
  static from(values: readonly unknown[], columns: Readonly<Record<string, string>> = {}): RowDataset {
    checkColumns("make a dataset", columns);
    const rows = values.map((value, i) => {
      const row = readRow(withNames(value, columns));
      if (typeof row !== "string") return row;
      throw new TypeError(`Cannot read row ${i + 1}: ${rowProblem(row)}`);
    });
    const hasTexts = rows.some((row) => "text" in row);
    return new RowDataset([{
      length: rows.length,
      hasTexts,
      at: (i) => rows[i],
      where: (i) => `row ${i + 1}`,
    }]);
  }

  /** Whether a row may be a text, which language modelling packs. */
  get hasTexts(): boolean {
    return this.#parts.some(({ hasTexts }) => hasTexts);
  }

  /** A row: at once, or later where it is read from its file again; undefined outside. */
  at(index: number): Row | undefined | Promise<Row | undefined> {
    const found = this.#find(index);
    return found && found.part.at(found.inside);
  }

  /** Where a row is, in words: its file, and its line or number. */
  where(index: number): string {
    const found = this.#find(index);
    return found ? found.part.where(found.inside) : `row ${index + 1}`;
  }

  #find(index: number): { part: RowPart; inside: number } | undefined {
    if (!(index >= 0 && index < this.length)) return undefined;
    const number = this.#choice ? this.#choice[index] : index;
    let part = this.#parts.length - 1;
    while (this.#starts[part] > number) part--;
    return { part: this.#parts[part], inside: number - this.#starts[part] };
  }

  /** Rows from number `start` up to `end`. */
  slice(start = 0, end: number = this.length): RowDataset {
    return this.#chosen(this.#numbers().subarray(start, end));
  }

  /**
   * The rows of these numbers, in this order.
   * @throws {RangeError} for a number that is none of a row
   */
  select(indices: Iterable<number>): RowDataset {
    const numbers = this.#numbers();
    return this.#chosen(Uint32Array.from(indices, (index) => {
      if (Number.isInteger(index) && index >= 0 && index < this.length) return numbers[index];
      throw new RangeError(
        `Cannot select rows: numbers from 0 to ${this.length - 1} are required, received ${index}`,
      );
    }));
  }

  /** The rows in a random order; the same seed gives the same order. */
  shuffle(options: { readonly seed?: number } = {}): RowDataset {
    checkOptions("shuffle rows", options, ["seed"]);
    const { seed = 42 } = options;
    return this.#chosen(new HostRandom(seed).shuffle(this.#numbers().slice()));
  }

  /** The rows for which `keeps` says true. */
  async filter(keeps: (row: Row, index: number) => boolean | Promise<boolean>): Promise<RowDataset> {
    const numbers = this.#numbers();
    const kept: number[] = [];
    for (let i = 0; i < this.length; i++) if (await keeps((await this.at(i))!, i)) kept.push(numbers[i]);
    return this.#chosen(Uint32Array.from(kept));
  }

  /** Every row, one after the other. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Row> {
    for (let i = 0; i < this.length; i++) yield (await this.at(i))!;
  }

  /**
   * Two parts of the rows, chosen at random and each in the old order; the same seed gives the same parts.
   * @throws {RangeError} where a part would be empty
   */
  trainTestSplit(
    options: { readonly testSize: number; readonly seed?: number },
  ): { readonly train: RowDataset; readonly test: RowDataset } {
    checkOptions("split rows", options, ["testSize", "seed"]);
    const { testSize, seed = 42 } = options;
    const count = Math.ceil(this.length * testSize);
    if (!(testSize > 0 && testSize < 1 && count < this.length)) {
      throw new RangeError(
        `Cannot split ${this.length} rows: testSize must be a fraction that leaves a row in each part, received ${testSize}`,
      );
    }
    const order = new HostRandom(seed).shuffle(Uint32Array.from({ length: this.length }, (_, i) => i));
    const numbers = this.#numbers();
    const part = (from: number, to?: number) =>
      this.#chosen(order.subarray(from, to).sort().map((index) => numbers[index]));
    return { train: part(count), test: part(0, count) };
  }

  /** Closes the files that rows are read from again. */
  async close(): Promise<void> {
    for (const part of this.#parts) await part.close?.();
  }

  #numbers(): Uint32Array {
    return this.#choice ?? Uint32Array.from({ length: this.length }, (_, i) => i);
  }

  #chosen(numbers: Uint32Array): RowDataset {
    return new RowDataset(this.#parts, numbers, { count: this.skippedCount, rows: this.skipped });
  }
}
