/**
 * Every format of files of rows. A new one is a file beside this one and its line in the table.
 * @module
 */

import type { FileSource } from "../../../io/file_source.ts";
import { csv } from "./csv.ts";
import { gunzip } from "./gzip.ts";
import { json } from "./json.ts";
import { parquet } from "./parquet.ts";
import { refuseFile, type RowFile, type RowFormat } from "./row_file.ts";
import { txt } from "./txt.ts";

/**
 * Name of a format.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { FormatName } from "@peft/webgpu/train";
 *
 * const format: FormatName = "csv"; // the bytes have no name that would tell
 * const rows = await loadDataset(new TextEncoder().encode("prompt,completion\nWho?,A dog."), { format });
 * console.log(rows.at(0)); // { prompt: "Who?", completion: "A dog." }
 * ```
 */
export type FormatName = "jsonl" | "json" | "csv" | "text" | "parquet";

const FORMATS: Readonly<Record<FormatName, RowFormat>> = { jsonl: json, json, csv, text: txt, parquet };

/** The formats by name. */
export const FORMAT_NAMES: readonly FormatName[] = Object.keys(FORMATS) as FormatName[];

/** The formats in words, by the ends of their files' names. */
export const EXTENSIONS: readonly string[] = [
  ...new Set(Object.values(FORMATS).flatMap(({ extensions }) => extensions)),
].map((extension) => `.${extension}`);

/** Whether a name ends as one of a format does, packed or not. */
export function isRowFile(name: string): boolean {
  return EXTENSIONS.includes(extensionOf(name.replace(/\.gz$/i, "")));
}

const extensionOf = (name: string) =>
  /\.[^./\\]+$/.exec(name.replace(/[?#].*$/, ""))?.[0].toLowerCase() ?? "";

/** Two bytes that begin every gzip file. */
const GZIP_MAGIC = [0x1f, 0x8b];

/** Options of `openRows`. */
export interface OpenRowsOptions {
  /** The format; null: by the file's name. */
  readonly format: FormatName | null;
  /** Rows are short, also where the format has one row alone. */
  readonly inPieces: boolean;
  /** What a file is read as whose name tells no format; default: it is refused. */
  readonly otherwise?: FormatName;
}

/** Opens a file of rows, unpacked where gzip packed it. @throws {TypeError} for a name that tells no format */
export async function openRows(source: FileSource, options: OpenRowsOptions): Promise<RowFile> {
  const magic = source.size < 2 ? [] : await source.read(0, 2);
  const isPacked = GZIP_MAGIC.every((byte, i) => magic[i] === byte);
  const unpacked = isPacked ? await gunzip(source) : source;
  const extension = extensionOf(unpacked.name);
  const byName = FORMAT_NAMES.find((name) => {
    return FORMATS[name].extensions.includes(extension.slice(1));
  });
  const format = options.format ?? byName ?? options.otherwise;
  if (format) return await FORMATS[format].open(unpacked, options);
  return refuseFile(
    source,
    `a name that ends with ${EXTENSIONS.join(", ")} (or that and .gz), or a format, is required, received "${
      extension || source.name
    }"`,
  );
}
