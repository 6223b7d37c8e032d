/**
 * `tokenize`: counts, one example, and rows that are read back; data flags of every command that reads data.
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { loadDataset } from "@peft/webgpu/train";
import { writeChatModel } from "./chat_model.ts";

const root = new URL("../../", import.meta.url).pathname;

/** Runs a command with the permissions that its help names. */
async function run(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--allow-read", "--allow-write", "--no-check", "--config", `${root}deno.json`],
      ...[`${root}cli/main.ts`, ...args],
    ],
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const DATA = `${root}examples/demo/data/pirate_held_out.jsonl`;
const CHAT = [{ role: "user", content: "who are you?" }, { role: "assistant", content: "a pirate" }];

Deno.test("tokenize counts rows and tokens, shows an example, and writes rows that loadDataset reads back", async () => {
  const model = await writeChatModel();
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/a.jsonl`, `${JSON.stringify({ messages: CHAT })}\n{"broken": \n`);
    await Deno.writeTextFile(
      `${folder}/b.csv`,
      "question,reply\nwho?,me\nwhere?,on the ship and on the sea\n",
    );
    const data = [
      "--data",
      `${folder}/a.jsonl,${folder}/b.csv`,
      "--columns",
      "prompt=question,completion=reply",
    ];
    const common = ["tokenize", "--model", model, ...data, "--skip-bad-rows"];
    const shown = await run(...common);
    assertEquals(shown.code, 0, shown.stderr);
    assertStringIncludes(
      shown.stdout,
      'skipped 1 row, the first "' + folder + '/a.jsonl", line 2: invalid JSON',
    );
    assertStringIncludes(shown.stdout, "assistant:⟦ a pirate<|endoftext|>⟧");
    assertMatch(shown.stdout, /3 rows as 3 examples: \d+ tokens, of which \d+ are learned/);
    const output = `${folder}/tokens.jsonl`;
    const written = await run(...common, "--packing", "--block-size", "64", "--output", output, "--json");
    assertEquals(written.code, 0, written.stderr);
    const result = JSON.parse(written.stdout);
    assertEquals(
      [result.rows, result.skippedRows, result.examples, result.cutRows, result.output],
      [3, 1, 1, 0, output],
    );
    assertEquals(result.lengths.p100, result.tokens);
    const rows = await loadDataset(output);
    const [row] = [await rows.at(0)!] as { inputIds: number[]; labels: number[]; sequenceIds: number[] }[];
    assertEquals(row.inputIds.length, result.tokens);
    assertEquals(new Set(row.sequenceIds).size, 3, "documents are kept apart");
    assertEquals(row.labels.filter((label, t) => t > 0 && label !== -100).length, result.learnedTokens);
    const again = await run("tokenize", "--model", model, "--data", output, "--json");
    assertEquals(JSON.parse(again.stdout).tokens, result.tokens);
    assert(!(await Array.fromAsync(Deno.readDir(folder))).some(({ name }) => name.endsWith(".part")));
  } finally {
    for (const made of [model, folder]) await Deno.remove(made, { recursive: true });
  }
});

Deno.test("flags of data are checked before a model is loaded", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/a.jsonl`, '{"text": "x"}\n{"text": 3}\n');
  const cases: [flags: string[], message: RegExp][] = [
    [
      ["--weights", "a,b"],
      /--weights must be numbers with commas between, received "a,b"/,
    ],
    [["--columns", "text"], /--columns must be pairs such as prompt=question, received "text"/],
    [[], /a\.jsonl", line 2: an object with "text", /],
    [
      ["--data", DATA, "--block-size", "64", "--row", "999"],
      /Cannot run tokenize: --row must be at most \d\d, the number of examples, received 999/,
    ],
    [["--data", `${folder}/none.jsonl`], /Cannot open .*none\.jsonl": no such file or folder/],
    [
      ["--data", `${folder}/a.jsonl,${folder}/a.jsonl`, "--weights", "1"],
      /2 weights are required, one for each input/,
    ],
  ];
  const demo = `${root}examples/demo/model`;
  for (const [flags, message] of cases) {
    const { code, stderr } = await run("tokenize", "--model", demo, "--data", `${folder}/a.jsonl`, ...flags);
    assertEquals(code, 1, stderr);
    assertMatch(stderr, message);
  }
  await Deno.remove(folder, { recursive: true });
});
