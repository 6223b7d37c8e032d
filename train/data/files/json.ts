/**
 * JSON: an array of objects, or JSON lines, as the first bytes say.
 * @module
 */

import type { Bytes, FileSource } from "../../../io/file_source.ts";
import { jsonLines } from "./jsonl.ts";
import { jsonOf, recordsOf } from "./records.ts";
import { type FoundRow, refuseFile, type RowFile, type RowFormat } from "./row_file.ts";

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [OPEN, CLOSE, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d];

const isSpace = (byte: number) => byte === 0x20 || byte >= 0x09 && byte <= 0x0d;

/** The place of an array's `[` where an object follows it; -1 for what is no array of objects. */
async function arrayStart(source: FileSource): Promise<number> {
  const head = await source.read(0, Math.min(source.size, 4096));
  let at = head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0;
  while (isSpace(head[at])) at++;
  if (head[at] !== OPEN_ARRAY) return -1;
  let next = at + 1;
  while (isSpace(head[next])) next++;
  return head[next] === OPEN || head[next] === CLOSE_ARRAY ? at : -1;
}

/** The place after the `,` or `]` that ends an element. */
function endOfElement(bytes: Bytes, from: number): number {
  let depth = 0;
  for (let at = from; at < bytes.length; at++) {
    switch (bytes[at]) {
      case QUOTE:
        for (at++; at < bytes.length && bytes[at] !== QUOTE; at++) if (bytes[at] === BACKSLASH) at++;
        break;
      case OPEN:
      case OPEN_ARRAY:
        depth++;
        break;
      case CLOSE:
        depth--;
        break;
      case CLOSE_ARRAY:
        if (depth-- === 0) return at + 1;
        break;
      case COMMA:
        if (depth === 0) return at + 1;
    }
  }
  return -1;
}

function jsonArray(source: FileSource, start: number): RowFile {
  return {
    unit: "row",
    async *rows() {
      let number = 0;
      let ended = false;
      for await (const records of recordsOf(source, start + 1, endOfElement)) {
        const found: FoundRow[] = [];
        for (const { offset, bytes } of records) {
          if (ended) {
            if (bytes.every(isSpace)) continue;
            refuseFile(source, "one JSON array is required, received more behind it");
          }
          const last = bytes.at(-1);
          ended = last === CLOSE_ARRAY;
          if (!ended && last !== COMMA) {
            refuseFile(source, "a JSON array that ends with ] is required, received one without its end");
          }
          const length = bytes.length - 1;
          if (ended && number === 0 && bytes.subarray(0, length).every(isSpace)) continue; // []
          found.push({ number: ++number, offset, length, ...jsonOf(bytes.subarray(0, length)) });
        }
        yield found;
      }
      if (!ended) {
        refuseFile(source, "a JSON array that ends with ] is required, received one without its end");
      }
    },
    async read(offset, length) {
      const found = jsonOf(await source.read(offset, length));
      return "value" in found ? found.value : undefined;
    },
  };
}

/** .json and .jsonl: either may hold what the other's name says. */
export const json: RowFormat = {
  extensions: ["jsonl", "json", "ndjson"],
  async open(source) {
    const start = await arrayStart(source);
    return start < 0 ? jsonLines(source) : jsonArray(source, start);
  },
};
