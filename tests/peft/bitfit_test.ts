import { assert, assertAllClose, assertEquals, assertThrows, relativeL2 } from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import { BitFitConfig, getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { readConfig } from "../../peft/registry.ts";
import { expectedOf, FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { logitsOf, randomise, tinyModel, trainedNames, withFolder } from "./tiny_model.ts";
import { loadBase } from "./adapter_fixture.ts";
import { assertTenLosses } from "./ten_losses.ts";

/** `expected.json` of `tests/fixtures/bitfit`, which peft made as a LoRA of alpha 0 with every bias. */
interface Json {
  input_ids: number[][];
  labels: number[][];
  loss: number;
  adamw: { lr: number; weight_decay: number; betas: [number, number]; eps: number; losses: number[] };
  greedy: number[][];
}

/** Number of biases: 6 of each of GPT-2's 3 blocks, and ln_f's; q, k and v of Qwen2's 2. */
const FIXTURE_BIASES = { "bitfit": 19, "llama_peft/qwen2.bitfit": 6 };

for (const [name, biases] of Object.entries(FIXTURE_BIASES)) {
  Deno.test(`PeftModel with ${name} has the numbers and files of peft's LoRA of alpha 0 with every bias`, async () => {
    const { json, ...expected } = await expectedOf<Json>(name);
    const device = await ownDevice();
    const folder = `${FIXTURES}${name}`;
    const model = await PeftModel.fromPretrained(await loadBase(name, device), folder, { isTrainable: true });
    model.eval();
    assert(model.peftConfig.default instanceof BitFitConfig);
    const output = model.forward({ inputIds: json.input_ids, labels: json.labels });
    assertAllClose(await output.logits.data(), expected.tensor("logits"), { rtol: 0, atol: 2e-5 });
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6 });
    output.loss!.backward();
    const gradients = expected.names.filter((name) => name.startsWith("grad.") && name.endsWith("bias"));
    assertEquals(gradients.length, biases);
    const parameters = new Map(model.namedParameters());
    for (const name of gradients) {
      const path = name.slice("grad.".length).replace(/(\.base_layer)?\.bias$/, ".bitfit_bias.default");
      const grad = await parameters.get(path)!.grad!.data();
      assert(relativeL2(grad, expected.tensor(name)) < 1e-5, name);
    }
    assertEquals(trainedNames(model).length, gradients.length);
    output.dispose();
    const options = { maxNewTokens: 10, eosTokenId: null };
    assertEquals(await model.generate([json.input_ids[0].slice(0, 5)], options), json.greedy);
    await withFolder(async (target) => {
      await model.savePretrained(target);
      const bytes = (path: string) => Deno.readFile(`${path}/adapter_model.safetensors`);
      assertEquals(await bytes(target), await bytes(folder), "byte for byte peft's tensors");
      const config = async (path: string) =>
        JSON.parse(await Deno.readTextFile(`${path}/adapter_config.json`));
      assertEquals(await config(target), await config(folder));
    });
    const merged = await model.mergeAndUnload({ safeMerge: true });
    using last = noGrad(() => merged.lastLogits({ inputIds: json.input_ids }));
    assertAllClose(await last.data(), expected.tensor("merged.logits"), { rtol: 0, atol: 2e-5 });
    last.dispose();
    merged.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });

  Deno.test(`AdamW on ${name} has PyTorch's ten losses`, async () => {
    const { json } = await expectedOf<Json>(name);
    const base = await loadBase(name, await ownDevice());
    const model = (await PeftModel.fromPretrained(base, `${FIXTURES}${name}`, { isTrainable: true })).eval();
    await assertTenLosses(model, json);
    model.dispose();
  });
}

Deno.test("BitFitConfig of a new adapter trains every bias and saves a file of that form", async () => {
  const { model: base } = await tinyModel();
  const biases = [...base.namedParameters()].filter(([name]) => name.endsWith(".bias"));
  const model = getPeftModel(base, new BitFitConfig({ modulesToSave: null }));
  assertEquals(model.getNbTrainableParameters()[0], biases.reduce((sum, [, { size }]) => sum + size, 0));
  await randomise(model);
  const logits = await logitsOf(model.eval());
  await withFolder(async (folder) => {
    await model.savePretrained(folder);
    const config = JSON.parse(await Deno.readTextFile(`${folder}/adapter_config.json`));
    assertEquals(config.peft_type, "LORA");
    assertEquals(config.target_modules, ["transformer.h.0.attn.c_attn"]);
    const again = await PeftModel.fromPretrained((await tinyModel()).model, folder);
    assertEquals(await logitsOf(again), logits);
    again.dispose();
  });
  model.addAdapter("other", new BitFitConfig());
  model.setAdapter(["default", "other"]);
  assertThrows(
    () => model.forward({ inputIds: [[1, 2]] }),
    RangeError,
    "Cannot run bitfit: one active adapter is required, received default, other",
  );
  model.dispose();
});

Deno.test("readConfig() takes only a LoRA of rank 1, alpha 0 and every bias for BitFit", () => {
  const json = new BitFitConfig({ carrier: "c_attn" }).toJSON();
  assert(readConfig(json) instanceof BitFitConfig);
  for (
    const other of [{ r: 2 }, { lora_alpha: 1 }, { bias: "lora_only" }, { target_modules: ["a", "b"] }, {
      alpha_pattern: { a: 1 },
    }]
  ) {
    assert(readConfig({ ...json, ...other }) instanceof LoraConfig, JSON.stringify(other));
  }
});

Deno.test("BitFitConfig refuses a carrier that has no weight matrix", async () => {
  const { model } = await tinyModel();
  assertThrows(
    () => getPeftModel(model, new BitFitConfig({ carrier: "ln_1" })),
    TypeError,
    'Cannot apply bitfit: a carrier with a weight matrix is required, received "ln_1"',
  );
  model.dispose();
});
