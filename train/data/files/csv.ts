/**
 * Comma-separated values with a header, as RFC 4180 has them; the header tells the delimiter. Records are found here,
 * because a large file is read again by place; what is in them, `papaparse` reads.
 * @module
 */

import type { Bytes, FileSource } from "../../../io/file_source.ts";
import { countLines, NOT_UTF8, recordsOf, textOf } from "./records.ts";
import { type FoundRow, refuseFile, type RowFormat, type Unreadable } from "./row_file.ts";

/** What is used of `papaparse`. */
interface Papa {
  parse(text: string, config: Readonly<Record<string, unknown>>): {
    readonly data: readonly (readonly string[])[];
    readonly errors: readonly { readonly type: string; readonly message: string }[];
  };
}

/** Bytes in which the header ends. */
const HEAD_BYTES = 65536;
const [QUOTE, LINE_FEED] = [0x22, 0x0a];
/** Columns that hold lists, which .csv can only have as JSON. */
const LISTS = new Set(["messages", "conversations", "tools", "input_ids", "labels", "attention_mask"]);
/** Columns that hold a text, or messages as JSON. */
const MAYBE_LISTS = new Set(["prompt", "completion", "chosen", "rejected"]);

async function loadPapa(): Promise<Papa> {
  const module = await import("papaparse").catch((cause) => {
    throw new Error(
      "Cannot read .csv: the package papaparse is required (beside the browser bundle its file peft_webgpu_csv.js), received none",
      { cause },
    );
  });
  return (module as unknown as { default: Papa }).default;
}

/** The end of a record: the line break that is in no quotes. */
function endOfRecord(delimiter: number): (bytes: Bytes, from: number) => number {
  return (bytes, from) => {
    let isStart = true;
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte === QUOTE && isStart) {
        for (at++;; at++) {
          at = bytes.indexOf(QUOTE, at);
          if (at < 0) return -1;
          if (bytes[at + 1] !== QUOTE) break;
          at++; // "" is a quote that was written
        }
      } else if (byte === LINE_FEED) return at + 1;
      isStart = byte === delimiter;
    }
    return -1;
  };
}

/** A field: JSON where the column holds a list. */
function valueOf(column: string, field: string): unknown {
  const isList = LISTS.has(column) || MAYBE_LISTS.has(column) && /^\s*\[\s*\{/.test(field);
  if (!isList || field === "") return field === "" && isList ? undefined : field;
  try {
    return JSON.parse(field);
  } catch {
    return field;
  }
}

/** What may stand between fields in place of a comma. */
const OTHER_DELIMITERS = ["\t", ";", "|"];

/**
 * The delimiter: a tab in .tsv; else a comma, unless the header has none outside quotes but another delimiter, and only
 * one. Rows say nothing: their texts may have any of these characters.
 */
function delimiterOf(name: string, head: Bytes): string {
  if (/\.tsv$/i.test(name.replace(/[?#].*$/, ""))) return "\t";
  const text = new TextDecoder().decode(head).replaceAll(/"(?:[^"]|"")*"/g, "");
  const header = /^[^\r\n]*/.exec(text)![0];
  const others = OTHER_DELIMITERS.filter((delimiter) => header.includes(delimiter));
  return !header.includes(",") && others.length === 1 ? others[0] : ",";
}

const isUnreadable = (fields: readonly string[] | Unreadable): fields is Unreadable => !Array.isArray(fields);

/** Names of the columns, and what reads a record. */
async function readHeader(source: FileSource) {
  const papa = await loadPapa();
  const head = await source.read(0, Math.min(source.size, HEAD_BYTES));
  const delimiter = delimiterOf(source.name, head);
  const endOf = endOfRecord(delimiter.charCodeAt(0));
  const config = { delimiter, newline: "\n", quoteChar: '"' };
  const fieldsOf = (bytes: Bytes): readonly string[] | Unreadable => {
    const text = textOf(bytes);
    if (text === null) return NOT_UTF8;
    const { data, errors } = papa.parse(text.replace(/\r?\n$/, ""), config);
    if (errors.length === 0) return data[0] ?? [];
    return {
      wanted: "fields whose quotes fit are required",
      received: `quotes that do not fit (${errors[0].message})`,
    };
  };
  const end = endOf(head, 0);
  const columns = fieldsOf(head.subarray(0, end < 0 ? head.length : end));
  if (isUnreadable(columns) || new Set(columns).size < columns.length) {
    const received = isUnreadable(columns) ? columns.received : columns.join(", ");
    return refuseFile(
      source,
      `a first line with different names of columns is required, received ${received}`,
    );
  }
  const read = (bytes: Bytes): { value: unknown } | { problem: Unreadable } => {
    const fields = fieldsOf(bytes);
    if (isUnreadable(fields)) return { problem: fields };
    if (fields.length !== columns.length) {
      const received = `${fields.length} fields where the first line names ${columns.length}`;
      return { problem: { wanted: "a field for each column is required", received } };
    }
    const entries = columns.flatMap((column, i) =>
      column === "" ? [] : [[column, valueOf(column, fields[i])]]
    );
    return { value: Object.fromEntries(entries) };
  };
  return { first: end < 0 ? source.size : end, endOf, read, lines: countLines(head.subarray(0, end)) };
}

/** .csv and .tsv */
export const csv: RowFormat = {
  extensions: ["csv", "tsv"],
  async open(source) {
    const { first, endOf, read, lines } = await readHeader(source);
    return {
      unit: "line",
      async *rows() {
        let number = lines + 1;
        for await (const records of recordsOf(source, first, endOf)) {
          const found: FoundRow[] = [];
          for (const { offset, bytes } of records) {
            const isEmpty = bytes.every((byte) => byte === 0x0d || byte === LINE_FEED);
            if (!isEmpty) found.push({ number, offset, length: bytes.length, ...read(bytes) });
            number += countLines(bytes);
          }
          yield found;
        }
      },
      async read(offset, length) {
        const found = read(await source.read(offset, length));
        return "value" in found ? found.value : undefined;
      },
    };
  },
};
