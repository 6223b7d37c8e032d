import { assert, assertEquals } from "@std/assert";
import { getPeftModel } from "../../peft/mod.ts";
import { readAdapterConfig } from "../../peft/files/adapter_files.ts";
import { expectedOf, FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { type AdapterJson, testAdapterFixture } from "./adapter_fixture.ts";

/** Every adapter that `tests/oracle/{lora,lora_variants,peft_methods}_fixture.py` made: `lora/c_attn`, `methods/ia3`, … */
const cases = ["lora", "lora_variants", "methods"].flatMap((kind) =>
  [...Deno.readDirSync(`${FIXTURES}${kind}`)].map((entry) => `${kind}/${entry.name}`).sort()
);
assert(cases.length >= 18);

for (const name of cases) testAdapterFixture(name);

Deno.test("getPeftModel() with a fixture's configuration makes the same tree as peft", async () => {
  for (const name of cases) {
    const { json } = await expectedOf<AdapterJson>(name);
    const device = await ownDevice();
    const config = await readAdapterConfig(`${FIXTURES}${name}`);
    const model = getPeftModel(await loadFixture("gpt2_tiny", { device }), config);
    const listed = [...model.namedParameters()].map(([name, p]) => [name, p.requiresGrad]);
    assertEquals(listed, json.named_parameters, name);
    model.dispose();
  }
});
