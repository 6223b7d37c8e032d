import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { PeftModel } from "../../../peft/mod.ts";
import { createLoraplusOptimizer, type LoraplusOptions } from "../../../train/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../../reference/fixtures.ts";

interface Expected {
  cases: Record<string, number[]>;
  defaults: number[];
  input_ids: number[][];
  labels: number[][];
}

const expected: Expected = JSON.parse(await Deno.readTextFile(`${FIXTURES}loraplus/expected.json`));

async function losses(name: string, options: LoraplusOptions): Promise<number[]> {
  const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const model = await PeftModel.fromPretrained(base, FIXTURES + name, { isTrainable: true });
  model.eval();
  const optimizer = createLoraplusOptimizer(model, options);
  const found: number[] = [];
  for (let step = 0; step < 10; step++) {
    using output = model.forward({ inputIds: expected.input_ids, labels: expected.labels });
    found.push(await output.loss!.item());
    output.loss!.backward();
    optimizer.step();
    optimizer.zeroGrad();
  }
  optimizer.dispose();
  model.dispose();
  return found;
}

for (const [name, wanted] of Object.entries(expected.cases)) {
  Deno.test(`createLoraplusOptimizer() on ${name} has peft's ten losses`, async () => {
    const found = await losses(name, {
      lr: 2e-3,
      loraplusLrRatio: 8,
      loraplusWeightDecay: 0.1,
      loraplusLrEmbedding: 1e-4,
    });
    assertAllClose(found, wanted, { rtol: 0, atol: 1e-5 });
  });
}

Deno.test("createLoraplusOptimizer() has peft's defaults", async () => {
  const found = await losses("lora_variants/embeddings", { lr: 2e-3, loraplusLrRatio: 4 });
  assertAllClose(found, expected.defaults, { rtol: 0, atol: 1e-5 });
});

Deno.test("createLoraplusOptimizer() refuses a ratio below 1 and a model of which nothing trains", async () => {
  const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  base.requiresGrad_(false);
  assertThrows(
    () => createLoraplusOptimizer(base, { lr: 1e-3, loraplusLrRatio: 0.5 }),
    RangeError,
    "Cannot make a LoRA+ optimizer: loraplusLrRatio must be at least 1, received 0.5",
  );
  assertThrows(
    () => createLoraplusOptimizer(base, { lr: 1e-3, loraplusLrRatio: 2 }),
    RangeError,
    "at least one parameter is required, received none",
  );
  assertEquals(base.training, false);
  base.dispose();
});
