import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { safetensors } from "../../io/safetensors.ts";
import { getPeftModel, IA3Config, LoraConfig, type LoraConfigFields, PeftModel } from "../../peft/mod.ts";
import { AutoModelForCausalLM, type CausalLM } from "../../model/mod.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { logitsOf, randomise, tinyModel, withFolder } from "./tiny_model.ts";

/** The tiny model under a trained adapter that starts from the weight. */
async function trained(fields: Partial<LoraConfigFields>, before?: (peftModel: PeftModel) => Promise<void>) {
  const { model } = await tinyModel();
  const config = new LoraConfig({ r: 4, loraAlpha: 8, initLoraWeights: "pissa", ...fields });
  const peftModel = getPeftModel(model, config).eval();
  await before?.(peftModel);
  await randomise(peftModel);
  return { peftModel, logits: await logitsOf(peftModel) };
}

const CASES: Record<string, Partial<LoraConfigFields>> = {
  "PiSSA": {},
  "OLoRA": { initLoraWeights: "olora" },
  "rsLoRA": { useRslora: true },
  "patterns": { rankPattern: { "h.1.attn.c_attn": 2 }, alphaPattern: { "h.0.attn.c_attn": 3 } },
  "DoRA": { useDora: true },
  "an embedding beside": { targetModules: ["c_attn", "wte"], modulesToSave: ["ln_f"] },
};

for (const [label, fields] of Object.entries(CASES)) {
  Deno.test(`savePretrained({ convertToLora }) writes plain LoRA of twice the rank: ${label}`, async () => {
    const { peftModel, logits } = await trained(fields);
    await withFolder(async (folder) => {
      await peftModel.savePretrained(folder, { convertToLora: true });
      const json = JSON.parse(await Deno.readTextFile(`${folder}/adapter_config.json`));
      assertEquals([json.init_lora_weights, json.r], [true, 8]);
      const { model } = await tinyModel();
      const loaded = await PeftModel.fromPretrained(model, folder);
      assertAllClose(await logitsOf(loaded), logits, { rtol: 0, atol: 2e-5 });
      loaded.dispose();
    });
    assertEquals(await logitsOf(peftModel), logits);
    peftModel.dispose();
  });
}

for (const initLoraWeights of ["pissa", "olora"] as const) {
  Deno.test(`savePretrained({ convertToLora }) writes plain LoRA of twice the rank: ${initLoraWeights} on Llama`, async () => {
    const device = await ownDevice();
    const load = () => AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/llama`, { device });
    const targetModules = ["q_proj", "k_proj", "down_proj"];
    const config = new LoraConfig({ r: 4, loraAlpha: 8, initLoraWeights, targetModules });
    const batch = { inputIds: [[5, 17, 20, 3, 9, 42], [1, 2, 3, 5, 8, 13]] };
    const plain = await load();
    const before = await logitsOf(plain, batch);
    const peftModel = getPeftModel(plain, config).eval();
    assertAllClose(await logitsOf(peftModel, batch), before, { rtol: 0, atol: 2e-5, label: "the start" });
    await randomise(peftModel);
    const logits = await logitsOf(peftModel, batch);
    await withFolder(async (folder) => {
      await peftModel.savePretrained(folder, { convertToLora: true });
      const loaded = await PeftModel.fromPretrained(await load(), folder);
      assertEquals((loaded.peftConfig.default as LoraConfig).r, 8);
      assertAllClose(await logitsOf(loaded, batch), logits, { rtol: 0, atol: 2e-5 });
      loaded.dispose();
    });
    peftModel.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("savePretrained({ pathInitialModelForWeightConversion }) converts from the adapter as it was before training", async () => {
  await withFolder(async (root) => {
    const { peftModel, logits } = await trained({}, (fresh) => fresh.savePretrained(`${root}/initial`));
    await peftModel.savePretrained(`${root}/plain`, {
      pathInitialModelForWeightConversion: `${root}/initial`,
    });
    await peftModel.savePretrained(`${root}/own`, { convertToLora: true });
    const [plain, own] = await Promise.all(
      ["plain", "own"].map((name) => Deno.readFile(`${root}/${name}/adapter_model.safetensors`)),
    );
    assertEquals(plain, own);
    const key = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight";
    assertEquals((await safetensors.load(`${root}/plain/adapter_model.safetensors`)).get(key)!.shape, [
      8,
      48,
    ]);
    const { model } = await tinyModel();
    const loaded = await PeftModel.fromPretrained(model, `${root}/plain`);
    assertAllClose(await logitsOf(loaded), logits, { rtol: 0, atol: 2e-5 });
    loaded.dispose();
    const other = await trained({ r: 2 });
    await assertRejects(
      () =>
        other.peftModel.savePretrained(`${root}/x`, {
          pathInitialModelForWeightConversion: `${root}/initial`,
        }),
      TypeError,
      `of shape [2, 48], received [4, 48]`,
    );
    for (const model of [peftModel, other.peftModel]) model.dispose();
  });
});

Deno.test("savePretrained({ convertToLora }) refuses what is no LoRA, what is plain, and rsLoRA with patterns", async () => {
  await withFolder(async (folder) => {
    const { peftModel } = await trained({ initLoraWeights: true });
    await assertRejects(
      () => peftModel.savePretrained(folder, { convertToLora: true }),
      RangeError,
      'Cannot convert adapter "default" to plain LoRA: an adapter that starts from the weight is required, received one that does not',
    );
    peftModel.dispose();
    const patterned = await trained({ useRslora: true, rankPattern: { c_attn: 2 } });
    await assertRejects(
      () => patterned.peftModel.savePretrained(folder, { convertToLora: true }),
      RangeError,
      "it is not supported when using `rank_pattern` or `alpha_pattern` at the same time as `use_rslora=True`",
    );
    patterned.peftModel.dispose();
    const { model } = await tinyModel();
    const ia3 = getPeftModel(model, new IA3Config());
    await assertRejects(
      () => ia3.savePretrained(folder, { convertToLora: true }),
      TypeError,
      'Cannot convert adapter "default" to plain LoRA: a LoRA adapter is required, received IA3',
    );
    ia3.dispose();
    assert([...Deno.readDirSync(folder)].length === 0, "nothing is written");
  });
});
