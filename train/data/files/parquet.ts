/**
 * Parquet, read by `hyparquet` one group of rows at a time; the compressions that it does not know itself are those of
 * `hyparquet-compressors`.
 * @module
 */

import type { FileSource } from "../../../io/file_source.ts";
import { type FoundRow, refuseFile, type RowFormat } from "./row_file.ts";

/** What is used of `hyparquet`. */
interface Hyparquet {
  parquetMetadataAsync(file: AsyncBuffer): Promise<Metadata>;
  parquetReadObjects(options: Readonly<Record<string, unknown>>): Promise<readonly unknown[]>;
}

interface AsyncBuffer {
  readonly byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer>;
}

interface Metadata {
  readonly num_rows: bigint;
  readonly row_groups: readonly { readonly num_rows: bigint }[];
}

/** Groups of rows that are kept for rows that are read again. */
const GROUPS_KEPT = 4;
/** Rows of a group that are read at once; one group may hold a whole file. */
const ROWS_AT_ONCE = 1000;

type Compressors = Readonly<Record<string, (input: Uint8Array, outputLength: number) => Uint8Array>>;

/** The same, but for pages without a value, which version 1.1.2 takes for broken LZ4. */
function withEmptyPages(compressors: Compressors): Compressors {
  return Object.fromEntries(
    Object.entries(compressors).map(([name, decompress]): [string, Compressors[string]] => [
      name,
      (input, length) => length === 0 ? new Uint8Array(0) : decompress(input, length),
    ]),
  );
}

async function loadHyparquet() {
  try {
    const [hyparquet, { compressors }] = await Promise.all([
      import("hyparquet"),
      import("hyparquet-compressors"),
    ]);
    return { ...hyparquet as unknown as Hyparquet, compressors: withEmptyPages(compressors as Compressors) };
  } catch (cause) {
    throw new Error(
      "Cannot read .parquet: the packages hyparquet and hyparquet-compressors are required (beside the browser bundle the files peft_webgpu_parquet*.js), received none",
      { cause },
    );
  }
}

/** A value as JSON would have it: numbers for bigints, and no entries without a value. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value) && "length" in value) {
    return Array.from(value as unknown as ArrayLike<unknown>, plain);
  }
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  const entries = Object.entries(value).filter(([, entry]) => entry !== null && entry !== undefined);
  return Object.fromEntries(entries.map(([key, entry]) => [key, plain(entry)]));
}

/** .parquet */
export const parquet: RowFormat = {
  extensions: ["parquet"],
  async open(source: FileSource) {
    const { parquetMetadataAsync, parquetReadObjects, compressors } = await loadHyparquet();
    const file: AsyncBuffer = {
      byteLength: source.size,
      async slice(start, end = source.size) {
        const bytes = await source.read(start, end - start);
        return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
      },
    };
    const guarded = <T>(body: () => Promise<T>): Promise<T> =>
      body().catch((cause) =>
        refuseFile(source, `a whole Parquet file is required: ${cause.message}`, cause)
      );
    const metadata = await guarded(() => parquetMetadataAsync(file));
    const count = Number(metadata.num_rows);
    /** First rows of what is read at once: a group, or a part of it. */
    const starts: number[] = [];
    let start = 0;
    for (const { num_rows } of metadata.row_groups) {
      for (let at = 0; at < Number(num_rows); at += ROWS_AT_ONCE) starts.push(start + at);
      start += Number(num_rows);
    }
    const readPart = (part: number) =>
      guarded(async () => {
        const [rowStart, rowEnd] = [starts[part], starts[part + 1] ?? count];
        const rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors });
        return rows.map(plain);
      });
    const kept = new Map<number, Promise<readonly unknown[]>>();
    return {
      unit: "row",
      async *rows() {
        for (const [part, first] of starts.entries()) {
          const values = await readPart(part);
          yield values.map((value, i): FoundRow => ({
            number: first + i + 1,
            offset: first + i,
            length: 1,
            value,
          }));
        }
      },
      async read(offset) {
        let part = starts.length - 1;
        while (starts[part] > offset) part--;
        const rows = kept.get(part) ?? readPart(part);
        kept.delete(part); // the newest comes last
        kept.set(part, rows);
        if (kept.size > GROUPS_KEPT) kept.delete(kept.keys().next().value!);
        return (await rows)[offset - starts[part]];
      },
    };
  },
};
