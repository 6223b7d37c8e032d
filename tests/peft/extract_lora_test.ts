import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { extractLora, getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { AutoModelForCausalLM, type CausalLM, GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { acting, bytesOf, logitsOf, randomise, tinyModel, withFolder } from "./tiny_model.ts";

Deno.test("extractLora() finds the adapter that was merged, and its file has the tuned model's logits", async () => {
  const fields = { r: 3, loraAlpha: 5, targetModules: ["c_attn", "mlp.c_proj"] };
  const { device, peftModel, logits } = await acting(fields);
  const tuned = await peftModel.mergeAndUnload();
  const base = await loadFixture("gpt2_tiny", { device });
  const extracted = await extractLora(base, tuned, { r: 3, targetModules: fields.targetModules });
  assertAllClose(await logitsOf(extracted), logits, { rtol: 0, atol: 1e-5 });
  const { r, loraAlpha } = extracted.peftConfig.default as LoraConfig;
  assertEquals([r, loraAlpha], [3, 3]);
  await withFolder(async (folder) => {
    await extracted.savePretrained(folder);
    const { model } = await tinyModel();
    const again = await PeftModel.fromPretrained(model, folder);
    assertEquals(await logitsOf(again), await logitsOf(extracted));
    again.dispose();
  });
  extracted.dispose();
  tuned.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

for (const name of ["llama", "qwen2", "gemma3"]) {
  Deno.test(`extractLora() on ${name} finds the adapter that was merged into every linear layer`, async () => {
    const device = await ownDevice();
    const load = () => AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/${name}`, { device });
    const config = new LoraConfig({ r: 3, loraAlpha: 5, targetModules: "all-linear" });
    const adapted = getPeftModel(await load(), config).eval();
    await randomise(adapted);
    const batch = { inputIds: [[5, 17, 20, 3, 9, 42], [1, 2, 3, 5, 8, 13]] };
    const logits = await logitsOf(adapted, batch);
    const tuned = await adapted.mergeAndUnload();
    const base = await load();
    assert((await logitsOf(base, batch)).some((value, i) => Math.abs(value - logits[i]) > 1e-2));
    const extracted = await extractLora(base, tuned, { r: 3, targetModules: "all-linear" });
    assertAllClose(await logitsOf(extracted, batch), logits, { rtol: 0, atol: 2e-5 });
    for (const each of [extracted, tuned]) each.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("extractLora() cuts to the best matrix of its rank: larger ranks come nearer, by layer as rankPattern says", async () => {
  const { device, peftModel, model: tuned } = await acting({ r: 6, targetModules: ["c_attn"] });
  await peftModel.mergeAndUnload();
  const wanted =
    await (tuned.transformer.h[1].attn.c_attn as unknown as { weight: { data(): Promise<Float32Array> } })
      .weight.data();
  const distances: number[] = [];
  for (const r of [1, 3, 6]) {
    const base = await loadFixture("gpt2_tiny", { device });
    const extracted = await extractLora(base, tuned, {
      r: 2,
      rankPattern: { "h.1.attn.c_attn": r },
      targetModules: ["c_attn"],
      adapterName: "found",
    });
    assertEquals(extracted.activeAdapters, ["found"]);
    const merged = await extracted.mergeAndUnload();
    const weight = await (merged.transformer.h[1].attn.c_attn as unknown as {
      weight: { data(): Promise<Float32Array> };
    }).weight.data();
    distances.push(Math.sqrt(weight.reduce((sum, value, i) => sum + (value - wanted[i]) ** 2, 0)));
    merged.dispose();
  }
  assert(distances[0] > distances[1] && distances[1] > distances[2], `${distances}`);
  assert(distances[2] < 1e-5, `${distances}`);
  tuned.dispose();
});

Deno.test("extractLora() refuses models of other shapes and leaves the base as it was", async () => {
  const { device, model: base } = await tinyModel();
  const before = await bytesOf(base);
  const other = new GPT2LMHeadModel(new GPT2Config({ nEmbd: 16, nHead: 2, nLayer: 2, vocabSize: 9 }), {
    device,
  });
  await assertRejects(
    () => extractLora(base, other, { targetModules: ["c_attn"] }),
    TypeError,
    'Cannot extract LoRA: "transformer.h.0.attn.c_attn" must have a weight [48, 144] in both models, received [16, 48]',
  );
  const shallow = new GPT2LMHeadModel(
    new GPT2Config({ nEmbd: 48, nHead: 4, nLayer: 2, vocabSize: 9 }),
    { device },
  );
  await assertRejects(
    () => extractLora(base, shallow, { targetModules: ["c_attn"], r: 2 }),
    TypeError,
    '"transformer.h.2.attn.c_attn" must have a weight [48, 144] in both models, received none',
  );
  const { model: elsewhere } = await tinyModel();
  await assertRejects(
    () => extractLora(base, elsewhere, { targetModules: ["c_attn"] }),
    TypeError,
    "Cannot extract LoRA: both models must be on the same device",
  );
  elsewhere.dispose();
  assertEquals(await bytesOf(base), before);
  assert(!base.training && [...base.parameters()].every((p) => p.requiresGrad));
  const again = getPeftModel(base, new LoraConfig({ r: 2 }));
  await randomise(again);
  again.dispose();
  other.dispose();
  shallow.dispose();
  assertEquals(device.memory.liveBytes, 0);
});
