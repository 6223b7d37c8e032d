/**
 * What adapters of Llama's family do besides what `llama_fixtures_test.ts` and `contract_test.ts` check.
 * @module
 */
import { assertAllClose, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import { AutoModelForCausalLM, type LlamaForCausalLM } from "../../model/mod.ts";
import {
  getPeftModel,
  hotswapAdapter,
  IA3Config,
  LoraConfig,
  type LoraConfigFields,
  PeftModel,
} from "../../peft/mod.ts";
import { defaultFeedforward, defaultTargets } from "../../peft/targets/default_targets.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { bytesOf, logitsOf as logitsOfBatch, randomise, trainedNames, withFolder } from "./tiny_model.ts";

const BATCH = { inputIds: [[5, 17, 20, 3, 9, 42, 50, 0], [1, 2, 3, 5, 8, 13, 21, 34]] };
const logitsOf = (model: Parameters<typeof logitsOfBatch>[0]) => logitsOfBatch(model, BATCH);

async function load(name: string, folder = `${FIXTURES}llama/${name}`) {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<LlamaForCausalLM>(folder, { device });
  return { device, model };
}

/** A model under a LoRA that acts. */
async function acting(name: string, fields: Partial<LoraConfigFields>, seed = 1) {
  const { device, model } = await load(name);
  const [base, baseBytes] = [await logitsOf(model), await bytesOf(model)];
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 8, ...fields })).eval();
  await randomise(peftModel, seed);
  return { device, model, base, baseBytes, peftModel, logits: await logitsOf(peftModel) };
}

Deno.test("default targets of every model type are those of peft's tables", async () => {
  const tables: Record<string, Record<string, string[] | null>> = JSON.parse(
    await Deno.readTextFile(`${FIXTURES}targets/defaults.json`),
  );
  assertEquals(Object.keys(tables).length, 11);
  for (const [method, table] of Object.entries(tables)) {
    for (const [type, wanted] of Object.entries(table)) {
      const own = method === "feedforward" ? defaultFeedforward(type) : defaultTargets(method, type);
      assertEquals(own, wanted, `${method} on ${type}`);
    }
  }
});

Deno.test("SmolLM3 has no default targets, as in peft, and all-linear takes its projections", async () => {
  const { model } = await load("smollm3");
  for (const config of [new LoraConfig(), new IA3Config()]) {
    assertThrows(() => getPeftModel(model, config), TypeError, "targetModules is required for this model");
  }
  const peftModel = getPeftModel(model, new LoraConfig({ targetModules: "all-linear" }));
  const taken = new Set(trainedNames(peftModel).map((name) => /(\w+)\.lora_/.exec(name)![1]));
  assertEquals(
    [...taken],
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
  );
  peftModel.dispose();
});

Deno.test("an adapter of GPT-2 is refused on Llama by the names it lacks, and nothing is changed", async () => {
  const { device, model } = await load("llama");
  const [bytes, { liveBytes }] = [await bytesOf(model), device.memory];
  for (const name of ["lora/c_attn", "methods/ia3", "methods/ln_tuning"]) {
    await assertRejects(() => PeftModel.fromPretrained(model, FIXTURES + name), TypeError, "match no module");
  }
  await assertRejects(
    () => PeftModel.fromPretrained(model, `${FIXTURES}prompt/prefix`),
    TypeError,
    "must be the model's",
  );
  assertEquals(await bytesOf(model), bytes);
  assertEquals(device.memory.liveBytes, liveBytes);
  model.dispose();
});

Deno.test("hotswapAdapter() on Qwen2 gives the new adapter's logits in the same buffers", async () => {
  await withFolder(async (folder) => {
    const other = await acting("qwen2", { r: 2, loraAlpha: 6 }, 9);
    await other.peftModel.savePretrained(folder);
    other.peftModel.dispose();
    const { peftModel, logits } = await acting("qwen2", {});
    assertNotEquals(logits, other.logits);
    const buffers = [...peftModel.parameters()].map(({ view }) => view.buffer);
    await hotswapAdapter(peftModel, folder, "default");
    assertAllClose(await logitsOf(peftModel), other.logits, { rtol: 0, atol: 2e-6 });
    const same = [...peftModel.parameters()].map(({ view }, i) => view.buffer === buffers[i]);
    assertEquals(same, buffers.map(() => true));
    peftModel.dispose();
  });
});

Deno.test("merging into Qwen2's tied head or embedding leaves the other alone and survives a save", async () => {
  const head = ["lm_head"];
  const cases: Partial<LoraConfigFields>[] = [{ targetModules: head }, { modulesToSave: head }, {
    targetModules: ["embed_tokens", "down_proj"],
  }];
  for (const fields of cases) {
    const label = JSON.stringify(fields);
    const { device, model, base, baseBytes, peftModel, logits } = await acting("qwen2", fields);
    assertNotEquals(logits, base);
    await peftModel.mergeAdapter({ safeMerge: true });
    assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 2e-5, label: `${label} merged` });
    peftModel.unmergeAdapter();
    assertEquals(await logitsOf(peftModel), logits, `${label} unmerged`);
    const merged = await peftModel.mergeAndUnload();
    const bytes = await bytesOf(merged);
    const other = fields.targetModules?.includes("embed_tokens")
      ? "lm_head.weight"
      : "model.embed_tokens.weight";
    assertEquals(bytes.get(other), baseBytes.get("model.embed_tokens.weight"), label);
    await withFolder(async (folder) => {
      await merged.savePretrained(folder);
      const again = (await load("", folder)).model;
      assertEquals(again.config.tieWordEmbeddings, false);
      assertEquals(await logitsOf(again), await logitsOf(merged), `${label} saved and loaded`);
      again.dispose();
    });
    model.dispose();
    assertEquals(device.memory.liveBytes, 0, label);
  }
});

Deno.test("rows of a batch use their own copies of Gemma's norms, which add to the stream", async () => {
  const { model } = await load("gemma3");
  const config = () => new LoraConfig({ r: 2, modulesToSave: ["norm"] });
  const peftModel = getPeftModel(model, config()).eval();
  await randomise(peftModel);
  peftModel.addAdapter("second", config());
  peftModel.setAdapter("second");
  await randomise(peftModel, 7);
  const names = ["default", "second"];
  using mixed = noGrad(() => peftModel.forward({ ...BATCH, adapterNames: names }));
  const logits = await mixed.logits.data();
  for (const [i, name] of names.entries()) {
    peftModel.setAdapter(name, { inferenceMode: true });
    const own = await logitsOfBatch(peftModel, { inputIds: [BATCH.inputIds[i]] });
    const row = logits.subarray(i * own.length, (i + 1) * own.length);
    assertAllClose(row, own, { rtol: 0, atol: 2e-6, label: name });
  }
  peftModel.dispose();
});
