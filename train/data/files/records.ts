/**
 * A file of text in records, such as lines, without the whole of it in memory.
 * @module
 */

import type { Bytes, FileSource } from "../../../io/file_source.ts";
import { refuseFile, type Unreadable } from "./row_file.ts";

/** Bytes that are read at once. */
const CHUNK_BYTES = 1 << 20;
/** The longest record; one that does not end is a broken file. */
const MOST_BYTES = 1 << 28;

/** A record: its bytes are valid until the next records are read. */
export interface ByteRecord {
  readonly offset: number;
  readonly bytes: Bytes;
}

/**
 * Records of a file from `first` on, some at a time.
 * @param endOf the place after a record that begins at `from`; -1 where it does not end in `bytes`
 * @param stop whether nothing more is read behind a record
 */
export async function* recordsOf(
  source: FileSource,
  first: number,
  endOf: (bytes: Bytes, from: number) => number,
): AsyncGenerator<readonly ByteRecord[]> {
  let room: Bytes = new Uint8Array(Math.min(CHUNK_BYTES, Math.max(1, source.size - first)));
  for (let at = first; at < source.size;) {
    const bytes = await source.read(at, Math.min(room.length, source.size - at), room);
    const isLast = at + bytes.length === source.size;
    const records: ByteRecord[] = [];
    let from = 0;
    while (from < bytes.length) {
      let end = endOf(bytes, from);
      if (end < 0) {
        if (!isLast) break;
        end = bytes.length;
      }
      records.push({ offset: at + from, bytes: bytes.subarray(from, end) });
      from = end;
    }
    if (from > 0) yield records;
    else if (room.length < MOST_BYTES) room = new Uint8Array(2 * room.length);
    else {refuseFile(
        source,
        `a row of at most ${MOST_BYTES} bytes is required, received a longer one at byte ${at}`,
      );}
    at += from;
  }
}

/** The end of a line, its line break included. */
export function endOfLine(bytes: Bytes, from: number): number {
  return bytes.indexOf(0x0a, from) + 1 || -1;
}

/** Line breaks in bytes. */
export function countLines(bytes: Bytes): number {
  let count = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) count++;
  return count;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Text of UTF-8 bytes, without a byte order mark; null where they are none. */
export function textOf(bytes: Bytes): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Bytes of another encoding. */
export const NOT_UTF8: Unreadable = {
  wanted: "UTF-8 text is required",
  received: "bytes that are not UTF-8",
};

/** A value of JSON bytes, or what they are instead. */
export function jsonOf(bytes: Bytes): { readonly value: unknown } | { readonly problem: Unreadable } {
  const text = textOf(bytes);
  if (text === null) return { problem: NOT_UTF8 };
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    // V8 quotes the text, line breaks and all
    const reason = (error as Error).message.replace(/\s*\n(?=")/, "").replaceAll(/\s*\n\s*/g, " ");
    return { problem: { wanted: "valid JSON is required", received: `invalid JSON (${reason})` } };
  }
}
