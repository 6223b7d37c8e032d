/**
 * Texts that end an answer, found across pieces.
 * @module
 */

import { assertEquals } from "@std/assert";
import { StopTexts } from "../../serve/stop_texts.ts";

/** What of the pieces belongs to the answer, and whether a stop was found. */
function read(pieces: readonly string[], stops: readonly string[]) {
  const filter = new StopTexts(stops);
  const given = pieces.map((piece) => filter.push(piece));
  return { given: [...given, filter.flush()], over: filter.isOver };
}

Deno.test("StopTexts holds back what may be the beginning of a stop, and gives it where none follows", () => {
  assertEquals(read(["a EN", "D b", "c"], ["END"]), { given: ["a ", "", "", ""], over: true });
  assertEquals(read(["a EN", "T", "EN"], ["END"]), { given: ["a ", "ENT", "", "EN"], over: false });
  assertEquals(read(["aab"], ["b", "aa"]), { given: ["", ""], over: true }); // the first in the text
  assertEquals(read(["xyxy", "z"], ["xyz"]), { given: ["xy", "", ""], over: true });
  assertEquals(read(["abc"], []), { given: ["abc", ""], over: false });
});

Deno.test("StopTexts finds emoji, also of several code points, and does not take another one's half for them", () => {
  assertEquals(read(["a🙂", "b"], ["🙂"]), { given: ["a", "", ""], over: true });
  assertEquals(read(["a🙃", "b"], ["🙂"]), { given: ["a🙃", "b", ""], over: false }); // the same high surrogate
  assertEquals(read(["a👨", "\u200d👩 b"], ["👨\u200d👩"]), { given: ["a", "", ""], over: true });
  assertEquals(read(["a👨", "c"], ["👨\u200d👩"]), { given: ["a", "👨c", ""], over: false });
});
