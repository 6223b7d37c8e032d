/**
 * Every method on Llama's family against Python's `peft` (`tests/oracle/llama_peft_fixture.py`).
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { readAdapterConfig } from "../../peft/files/adapter_files.ts";
import { getPeftModel } from "../../peft/mod.ts";
import { expectedOf, FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { type AdapterJson, loadBase, testAdapterFixture, testPromptFixture } from "./adapter_fixture.ts";

const cases = [...Deno.readDirSync(`${FIXTURES}llama_peft`)].map(({ name }) => name)
  .filter((name) => !name.endsWith(".bitfit")) // bitfit_test.ts: peft has no such method
  .map((name) => `llama_peft/${name}`).sort();
const isPrompt = (name: string) => name.includes(".prompt_");
assert(cases.length >= 38);

for (const name of cases) (isPrompt(name) ? testPromptFixture : testAdapterFixture)(name);

Deno.test("getPeftModel() with a configuration for Llama's family makes the same tree as peft", async () => {
  for (const name of cases) {
    const { json } = await expectedOf<AdapterJson>(name);
    const base = await loadBase(name, await ownDevice());
    const model = getPeftModel(base, await readAdapterConfig(`${FIXTURES}${name}`));
    const listed = [...model.namedParameters()].map(([path, p]) => [path, p.requiresGrad]);
    assertEquals(listed, json.named_parameters, name);
    model.dispose();
  }
});
