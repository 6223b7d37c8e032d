/**
 * A file of rows, whatever its format: read once from its beginning, and row by row again by place, so that a file that
 * is larger than memory needs no more than the places of its rows.
 * @module
 */

import type { FileSource } from "../../../io/file_source.ts";

/** Bytes that are no row of their format, in words. */
export interface Unreadable {
  /** "valid JSON is required", say. */
  readonly wanted: string;
  readonly received: string;
}

/** A row where it was found. */
export interface FoundRow {
  /** Number of its line or row, from 1. */
  readonly number: number;
  /** Where it begins: a byte, or what else its format counts. */
  readonly offset: number;
  /** How long it is, in the same unit; less than 2^32. */
  readonly length: number;
  /** The row as the file has it. */
  readonly value?: unknown;
  /** What is there instead of a row. */
  readonly problem?: Unreadable;
}

/** An open file of rows. */
export interface RowFile {
  /** What the rows' numbers count. */
  readonly unit: "line" | "row";
  /** Every row in order, some at a time. @throws {TypeError} for a file that is broken as a whole */
  rows(): AsyncIterable<readonly FoundRow[]>;
  /** The row at a place that `rows` gave. */
  read(offset: number, length: number): Promise<unknown>;
}

/** How a format is read. */
export interface RowFormat {
  /** Ends of file names, without the dot. */
  readonly extensions: readonly string[];
  /**
   * Opens a file. The source stays the caller's to close.
   * @param options `inPieces`: rows are short, also where the format has one row alone
   */
  open(source: FileSource, options: { readonly inPieces: boolean }): Promise<RowFile>;
}

/** Refuses a file as a whole. */
export function refuseFile(source: FileSource, message: string, cause?: unknown): never {
  throw new TypeError(`Cannot read "${source.name}": ${message}`, { cause });
}
