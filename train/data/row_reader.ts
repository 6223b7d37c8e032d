/**
 * Files of rows as parts of a dataset.
 * @module
 */

import type { FileSource } from "../../io/file_source.ts";
import { type FormatName, openRows } from "./files/formats.ts";
import type { FoundRow, RowFile } from "./files/row_file.ts";
import { type RowPart, rowProblem, SKIPPED_SHOWN, type SkippedRow, withNames } from "./row_dataset.ts";
import { RowPlaces } from "./row_places.ts";
import { readRow, type Row } from "./rows.ts";

/** How many times more rows are expected at most than there are so far. */
const MOST_GROWTH = 1000;

/** How files are read. */
export interface RowReaderOptions {
  /** Format of every file; null: by the ends of their names. */
  readonly format: FormatName | null;
  /** What a file is read as whose name tells no format; default: it is refused. */
  readonly otherwise?: FormatName;
  /** Names of columns by the usual ones. */
  readonly columns?: Readonly<Record<string, string>>;
  /** What happens at a row that cannot be read. */
  readonly onBadRow: "error" | "skip";
}

/** Closes a file after an error, which counts more than what closing may say. */
export async function closeAnyway(source: FileSource): Promise<void> {
  try {
    await source.close();
  } catch {
    // it may be closed
  }
}

/** What reading a file finds and leaves out. */
export class RowReader {
  readonly skipped: SkippedRow[] = [];
  skippedCount = 0;
  readonly #options: RowReaderOptions;

  constructor(options: RowReaderOptions) {
    this.#options = options;
  }

  /**
   * Rows of a file: in memory, and the file is closed; or by place, and the part closes it. After an error it is closed.
   * @throws {TypeError} for a row that cannot be read, naming file and line, and for a file that is broken
   */
  async read(source: FileSource, streaming: boolean): Promise<RowPart> {
    try {
      const part = await this.#read(source, streaming);
      if (!streaming) await source.close();
      return part;
    } catch (error) {
      await closeAnyway(source);
      throw error;
    }
  }

  async #read(source: FileSource, streaming: boolean): Promise<RowPart> {
    const { columns = {} } = this.#options;
    const file = await openRows(source, { ...this.#options, inPieces: streaming });
    const rows: Row[] = [];
    const places = new RowPlaces();
    let hasTexts = false;
    for await (const found of file.rows()) {
      for (const one of found) {
        const row = this.#rowOf(source.name, file, one);
        if (row === null) continue;
        if (!streaming) rows.push(row);
        hasTexts ||= "text" in row;
        places.add(one.number, one.offset, one.length);
      }
      const { offset = 0, length = 0 } = found.at(-1) ?? {};
      if (streaming && places.length > 0) {
        places.reserve(
          Math.ceil(places.length * Math.min(MOST_GROWTH, source.size / (offset + length)) * 1.01),
        );
      }
    }
    const where = (index: number) => `"${source.name}", ${file.unit} ${places.numberOf(index)}`;
    if (!streaming) return { length: rows.length, hasTexts, where, at: (index) => rows[index] };
    return {
      length: places.length,
      hasTexts,
      where,
      close: () => source.close(),
      at: async (index) => {
        const { offset, length } = places.placeOf(index);
        const row = readRow(withNames(await file.read(offset, length), columns));
        if (typeof row !== "string") return row;
        throw new TypeError(
          `Cannot read ${where(index)} again: the file must stay as it was, received ${row}`,
        );
      },
    };
  }

  #rowOf(name: string, { unit }: RowFile, { number, value, problem }: FoundRow): Row | null {
    const row = problem?.received ?? readRow(withNames(value, this.#options.columns ?? {}));
    if (typeof row !== "string") return row;
    const where = `"${name}", ${unit} ${number}`;
    if (this.#options.onBadRow === "error") {
      const what = problem ? `${problem.wanted}, received ${row}` : rowProblem(row);
      throw new TypeError(`Cannot read ${where}: ${what}`);
    }
    if (this.skippedCount++ < SKIPPED_SHOWN) this.skipped.push({ where, problem: row });
    return null;
  }
}
