/**
 * JSON lines: one object on each line.
 * @module
 */

import type { FileSource } from "../../../io/file_source.ts";
import { endOfLine, jsonOf, recordsOf } from "./records.ts";
import type { FoundRow, RowFile } from "./row_file.ts";

const isBlank = (bytes: Uint8Array) => bytes.every((byte) => byte <= 0x20);

/** A file of JSON lines; empty lines are none. */
export function jsonLines(source: FileSource): RowFile {
  return {
    unit: "line",
    async *rows() {
      let number = 0;
      for await (const records of recordsOf(source, 0, endOfLine)) {
        const found: FoundRow[] = [];
        for (const { offset, bytes } of records) {
          number++;
          if (isBlank(bytes)) continue;
          found.push({ number, offset, length: bytes.length, ...jsonOf(bytes) });
        }
        yield found;
      }
    },
    async read(offset, length) {
      const found = jsonOf(await source.read(offset, length));
      return "value" in found ? found.value : undefined;
    },
  };
}
