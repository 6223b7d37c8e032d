/**
 * `./run teach`: on a small model what it prints and trains, on SmolLM2 what is learned.
 * @module
 */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { AutoModelForCausalLM, AutoTokenizer, PeftModel } from "@peft/webgpu";
import { readSettings, teach } from "../../examples/teach.ts";
import { readQuestions } from "../../examples/teach/questions.ts";
import { writeChatModel } from "../cli/chat_model.ts";
import { smolLM2Path } from "../reference/smollm2.ts";

const DEMO_MODEL = new URL("../../examples/demo/model", import.meta.url).pathname;

/** Runs it with its output kept. */
async function captured(args: string[]) {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line = "") => void lines.push(...String(line).split("\n"));
  try {
    return { lines, ...await teach(readSettings(args)!) };
  } finally {
    console.log = log;
  }
}

Deno.test("teach() on a small model prints every question before and after, learns the answers, and saves the adapter", async () => {
  const model = await writeChatModel();
  const folder = await Deno.makeTempDir();
  const pairs = [["who are you?", "a pirate", "pirate"], ["where are you?", "on the ship", "ship"]];
  const write = (name: string, rows: unknown[]) =>
    Deno.writeTextFile(`${folder}/${name}`, rows.map((row) => JSON.stringify(row)).join("\n"));
  await write("data.jsonl", pairs.map(([question, answer, expect]) => ({ question, answer, expect })));
  await write("other.jsonl", [{ question: "what is it?", kind: "other" }]);
  const { lines: all, before, after } = await captured([
    ...["--model", model, "--data", `${folder}/data.jsonl`, "--questions", `${folder}/other.jsonl`],
    ...[
      "--system",
      "",
      "--epochs",
      "20",
      "--batch-size",
      "2",
      "--lr",
      "0.01",
      "--output",
      `${folder}/adapter`,
    ],
  ]);
  const lines = all.filter((line) => !line.startsWith("  …")); // progress after two seconds of silence
  assertEquals(before, { taught: { right: 0, of: 2 } });
  assertEquals(after, { taught: { right: 2, of: 2 } }, lines.join("\n"));
  const [start, middle] = [lines.indexOf("before:"), lines.indexOf("after:")];
  assert(0 < start && start < middle);
  for (const from of [start, middle]) {
    const asked = lines.slice(from + 1, from + 7).filter((_, i) => i % 2 === 0);
    assertEquals(asked, ["  who are you?", "  where are you?", "  what is it?"]);
  }
  assertEquals(lines.slice(middle + 1, middle + 5), [
    "  who are you?",
    "    ✓ a pirate",
    "  where are you?",
    "    ✓ on the ship",
  ]);
  assert(lines.some((line) => line.startsWith("trainable params: ")));
  assert(lines.some((line) => line.includes("loss")));
  assertMatch(lines.join("\n"), /adapter written: .*adapter; talk to it with \.\/run chat --model /);

  const base = await AutoModelForCausalLM.fromPretrained(model);
  const loaded = await PeftModel.fromPretrained(base, `${folder}/adapter`);
  const tokenizer = await AutoTokenizer.fromPretrained(model);
  const messages = [{ role: "user", content: "who are you?" }];
  const ids = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
  const [told] = await loaded.generate([ids], { maxNewTokens: 8 });
  assertEquals(tokenizer.decode(told.slice(ids.length), { skipSpecialTokens: true }).trim(), "a pirate");
  loaded.dispose();
  for (const made of [model, folder]) await Deno.remove(made, { recursive: true });
});

Deno.test("teach refuses bad flags and files by name", async () => {
  assertEquals(readSettings(["--help"]), null);
  assertThrows(
    () => readSettings(["--epochs", "many"]),
    RangeError,
    'Cannot run teach: --epochs must be a positive integer, received "many"',
  );
  assertThrows(() => readSettings(["--rank", "1.5"]), RangeError, "--rank must be a positive integer");
  assertThrows(
    () => readSettings(["--speed", "9"]),
    TypeError,
    "Cannot run teach: Unknown option '--speed'; see ./run teach --help",
  );
  const plain = readSettings(["--model", DEMO_MODEL, "--output", await Deno.makeTempDir()])!;
  await assertRejects(
    () => teach(plain),
    TypeError,
    `Cannot run teach: a model with a chat template is required, received "${plain.model}" without one`,
  );
  await Deno.remove(plain.output, { recursive: true });
  const file = await Deno.makeTempFile({ suffix: ".jsonl" });
  for (
    const [text, message] of [
      ["", `Cannot read "${file}": at least one question is required, received none`],
      [
        '{"question": "a"}',
        `line 1: an object with "question" and "answer" is required, received {"question"`,
      ],
      ['{"question": "a", "answer": "b"}\nnot json', "line 2: an object with "],
    ]
  ) {
    await Deno.writeTextFile(file, text);
    await assertRejects(() => readQuestions(file, "taught"), TypeError, message);
  }
  await assertRejects(
    () => readQuestions("/no/such/file", "taught"),
    TypeError,
    'Cannot read "/no/such/file": there is no such file',
  );
  await Deno.remove(file);
});

const path = await smolLM2Path();
Deno.test({
  name: "SmolLM2 learns the answers that ./run teach teaches, in other words too, and forgets nothing else",
  ignore: path === null,
  async fn() {
    const output = await Deno.makeTempDir();
    const start = performance.now();
    const { before, after, lines } = await captured(["--output", output]);
    const seconds = (performance.now() - start) / 1000;
    console.log(`teach took ${seconds.toFixed(0)} s: ${JSON.stringify(after)}`);
    const text = lines.join("\n");
    assertEquals(before, {
      "taught": { right: 0, of: 10 },
      "unseen wording": { right: 0, of: 3 },
      "unrelated": { right: 3, of: 3 },
    }, text);
    assert(after.taught.right >= 9, text);
    assert(after["unseen wording"].right >= 2, text);
    assertEquals(after.unrelated, { right: 3, of: 3 }, text);
    assert(seconds < 900, `${seconds} s`); // 1.5 minutes on two cores with nothing beside it
    await Deno.remove(output, { recursive: true });
  },
});
