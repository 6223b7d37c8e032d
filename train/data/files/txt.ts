/**
 * Plain text: a file is one document; in pieces, where documents must be short, each ends with a line.
 * @module
 */

import type { Bytes, FileSource } from "../../../io/file_source.ts";
import { recordsOf, textOf } from "./records.ts";
import { refuseFile, type RowFormat } from "./row_file.ts";

/** Bytes of a piece, at most. */
const PIECE_BYTES = 16384;

/** The end of a piece: behind the last line break in reach, else between two characters. */
function endOfPiece(bytes: Bytes, from: number): number {
  const reach = from + PIECE_BYTES;
  if (reach > bytes.length) return -1;
  const line = bytes.lastIndexOf(0x0a, reach - 1);
  if (line >= from) return line + 1;
  let end = reach;
  while (end > from + 1 && (bytes[end] & 0xc0) === 0x80) end--;
  return end;
}

function textIn(source: FileSource, bytes: Bytes): { text: string } {
  const text = textOf(bytes);
  return text === null ? refuseFile(source, "UTF-8 text is required, received other bytes") : { text };
}

/** .txt */
export const txt: RowFormat = {
  extensions: ["txt", "text", "md"],
  open: (source, { inPieces }) =>
    Promise.resolve({
      unit: "row",
      async *rows() {
        if (!inPieces) {
          const value = textIn(source, await source.read(0, source.size));
          if (value.text !== "") yield [{ number: 1, offset: 0, length: source.size, value }];
          return;
        }
        let number = 0;
        for await (const records of recordsOf(source, 0, endOfPiece)) {
          yield records.map(({ offset, bytes }) => {
            return { number: ++number, offset, length: bytes.length, value: textIn(source, bytes) };
          });
        }
      },
      read: async (offset, length) => textIn(source, await source.read(offset, length)),
    }),
};
