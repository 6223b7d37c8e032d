import { assertAllClose } from "@std/assert";
import { defaultDevice, Device } from "../../autograd/mod.ts";
import { getPeftModel, LoraConfig, type LoraConfigFields } from "../../peft/mod.ts";
import { loadFixture } from "../reference/fixtures.ts";
import { BATCH, logitsOf, randomise } from "./tiny_model.ts";

/** Less than the table of 257 rows of 48 needs, and more than 128 of its rows: GPT-2's is beyond some adapters' limit too. */
const BINDING_LIMIT = 40_704;

const CASES: Record<string, Partial<LoraConfigFields>> = {
  "LoRA on wte": { targetModules: ["wte"] },
  "LoRA on the tied head": { targetModules: ["lm_head"] },
  "trained tokens": { trainableTokenIndices: [5, 17, 200] },
};

/** Logits, loss, gradients, and merged and unmerged logits. */
async function resultsOf(fields: Partial<LoraConfigFields>, limit?: number): Promise<ArrayLike<number>[]> {
  const limits = limit === undefined ? {} : { maxStorageBufferBindingSize: limit };
  const device = await Device.create({ device: (await defaultDevice()).gpuDevice, limits });
  const model = await loadFixture("gpt2_tiny", { device });
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, ...fields })).eval();
  await randomise(peftModel);
  const results: ArrayLike<number>[] = [await logitsOf(peftModel)];
  const output = peftModel.forward(BATCH);
  results.push([await output.loss!.item()]);
  output.loss!.backward();
  for (const parameter of peftModel.parameters()) {
    if (parameter.grad) results.push(await parameter.grad.data());
  }
  output.dispose();
  await peftModel.mergeAdapter();
  results.push(await logitsOf(peftModel));
  peftModel.unmergeAdapter();
  results.push(await logitsOf(peftModel));
  peftModel.dispose();
  return results;
}

for (const [label, fields] of Object.entries(CASES)) {
  Deno.test(`${label} works, trains and merges where the table is beyond the binding limit`, async () => {
    const [whole, windows] = [await resultsOf(fields), await resultsOf(fields, BINDING_LIMIT)];
    whole.forEach((expected, i) =>
      assertAllClose(windows[i], expected, { rtol: 0, atol: 2e-6, label: `result ${i}` })
    );
  });
}
