/**
 * The tables of docs/from_python.md name what the entries export, and what classes have.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { AutoModelForCausalLM, LoraConfig, PeftModel, TrainingArguments } from "@peft/webgpu";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The rows of the table below a heading, as lists of cells. */
async function tableBelow(heading: string): Promise<string[][]> {
  const page = await Deno.readTextFile(`${ROOT}docs/from_python.md`);
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const rows = section.split("\n").filter((line) => line.startsWith("| `")).map((line) =>
    line.split("|").slice(1, -1).map((cell) => cell.trim())
  );
  assert(rows.length > 3, `${rows.length} rows below "${heading}"`);
  return rows;
}

/** The name in a cell of code. */
const nameIn = (cell: string) => cell.replaceAll("`", "");

Deno.test("every class and function of the page's table is exported by the entry that it names", async () => {
  const missing: string[] = [];
  for (const [, here, entry] of await tableBelow("Functions and classes")) {
    const path = nameIn(entry) === "." ? "@peft/webgpu" : `@peft/webgpu${nameIn(entry)}`;
    const exported: Record<string, unknown> = await import(path);
    if (exported[nameIn(here)] === undefined) missing.push(`${nameIn(here)} of ${path}`);
  }
  assertEquals(missing, []);
});

Deno.test("every method of the page's table is one of PeftModel", async () => {
  const rows = await tableBelow("Methods of a model with adapters");
  assertEquals(rows.map(([, here]) => nameIn(here)).filter((name) => !(name in PeftModel.prototype)), []);
});

Deno.test("every option of the page's table is one of generate()", async () => {
  const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
  const rows = await tableBelow("Generating");
  const names = rows.flatMap(([, here]) => [...here.matchAll(/`(\w+)`/g)].map(([, name]) => name));
  const options = names.filter((name) => name !== "AbortSignal");
  assert(options.length > 20, `${options}`);
  const given = Object.fromEntries(options.map((name) => [name, undefined]));
  assertEquals((await model.generate([[1, 2]], { ...given, maxNewTokens: 1 }))[0].length, 3);
  await assertRejects(() => model.generate([[1, 2]], { ...given, maxTime: undefined } as object), TypeError);
});

Deno.test("every argument of the page's table is one of TrainingArguments", async () => {
  const known = new TrainingArguments();
  const rows = await tableBelow("Arguments of trainers");
  assertEquals(rows.map(([, here]) => nameIn(here)).filter((name) => !(name in known)), []);
});

Deno.test("the page's names of Python are ours in snake_case, where it does not say otherwise", async () => {
  const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const rows = await tableBelow("Methods of a model with adapters");
  const others = rows.filter(([python, here]) => !python.includes(`.${snake(nameIn(here))}(`));
  assertEquals(others.map(([, here]) => nameIn(here)), ["forward"]);
  assert("loraAlpha" in new LoraConfig());
});
