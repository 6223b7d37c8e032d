/**
 * The forms of rows that preference tuning reads; those of language modelling are in chat_rows_test.ts.
 * @module
 */
import { assertEquals } from "@std/assert";
import { isPreferenceRow, isUnpairedRow, readRow, type Row } from "../../../train/data/rows.ts";

const user = { role: "user", content: "Who?" };
const good = { role: "assistant", content: "A pirate." };
const bad = { role: "assistant", content: "Nobody." };
const tools = [{ type: "function" }];

Deno.test("readRow() reads two answers with their prompt given, as texts or as messages", () => {
  const texts = { prompt: "Who? ", chosen: "A pirate.", rejected: "Nobody." };
  assertEquals(readRow({ ...texts, score: 3 }), texts);
  const messages = { prompt: [user], chosen: [good], rejected: [bad] };
  assertEquals(readRow({ ...messages, tools }), { ...messages, tools });
  assertEquals(readRow({ ...texts, prompt: "" }), { ...texts, prompt: "" });
});

Deno.test("readRow() finds the prompt that two answers begin with, as TRL's extract_prompt does", () => {
  const cases: [chosen: string, rejected: string, prompt: string][] = [
    ["The sky is blue.", "The sky is green.", "The sky is"], // the space before the answers is theirs
    ["Who?\nA", "Who?\nB", "Who?\n"],
    [" a", " b", ""],
    ["A", "B", ""],
    ["so \u{1F600}", "so \u{1F601}", "so"], // no half of a character
    ["same", "same and more", "same"],
  ];
  for (const [chosen, rejected, prompt] of cases) {
    assertEquals(readRow({ chosen, rejected }), {
      prompt,
      chosen: chosen.slice(prompt.length),
      rejected: rejected.slice(prompt.length),
    });
  }
  const implicit = { chosen: [user, good], rejected: [{ content: "Who?", role: "user" }, bad] };
  const wanted = { prompt: [user], chosen: [good], rejected: [bad] };
  assertEquals(readRow(implicit), wanted);
  assertEquals(
    readRow({ ...implicit, prompt: "Who?" }),
    wanted,
    "a text beside messages is not their prompt",
  );
});

Deno.test("readRow() keeps what language modelling learns of a row beside its two answers, and reads tools that are JSON", () => {
  const pair = { prompt: "Who?", chosen: [user, good], rejected: [user, bad] };
  const shared = { prompt: [user], chosen: [good], rejected: [bad] };
  const language = { messages: [user, good], learnedFrom: 0 };
  assertEquals(readRow({ ...pair, messages: [user, good] }), { ...shared, language });
  assertEquals(readRow({ ...pair, score: 1 }), shared);
  const called = { messages: [user, good], tools: JSON.stringify(tools) };
  assertEquals(readRow(called), { ...language, tools });
  assertEquals(readRow({ ...called, tools: "[" }), language);
});

Deno.test("readRow() reads an answer with its judgement, also in the words that .csv has", () => {
  const row = { prompt: "Who?", completion: "A pirate." };
  assertEquals(readRow({ ...row, label: true }), { ...row, label: true });
  assertEquals(readRow({ ...row, label: "False" }), { ...row, label: false });
  const messages = { prompt: [user], completion: [good], label: false, tools };
  assertEquals(readRow(messages), messages);
  for (
    const [label, wanted] of [[1, true], [0, false], ["1", true], ["0", false], [" TRUE", true]] as const
  ) {
    assertEquals(readRow({ ...row, label }), { ...row, label: wanted });
  }
  for (const label of ["funny", 2, null]) { // another label does not judge the answer
    assertEquals(readRow({ ...row, label }), { ...row, unreadLabel: label });
  }
});

Deno.test("rows of preference tuning are told from each other and from those of language modelling", () => {
  const kinds = [
    { chosen: "a", rejected: "b" },
    { prompt: "a", completion: "b", label: true },
    { prompt: "a", completion: "b" },
    { text: "a" },
  ].map((row) => readRow(row) as Row).map((row) => [isPreferenceRow(row), isUnpairedRow(row)]);
  assertEquals(kinds, [[true, false], [false, true], [false, false], [false, false]]);
});

Deno.test("readRow() says what a row has that is no pair of answers", () => {
  for (
    const row of [{ chosen: "a", rejected: [bad] }, { chosen: [], rejected: [] }, {
      chosen: "a",
      rejected: 1,
    }]
  ) {
    assertEquals(readRow(row), 'other keys or other values: "chosen", "rejected"');
  }
});
