import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig } from "../../peft/mod.ts";
import type { LoraLayer } from "../../peft/mod.ts";
import { GPT2LMHeadModel } from "../../model/mod.ts";
import { acting, bytesOf, logitsOf, tinyModel, trainedNames, warningsOf, withFolder } from "./tiny_model.ts";

Deno.test("disableAdapter() gives the base bit for bit, nothing trains in it, and everything is back after", async () => {
  const { peftModel, base, logits } = await acting();
  const trained = trainedNames(peftModel);
  const inside = await peftModel.disableAdapter(async () => {
    assertEquals(trainedNames(peftModel), []);
    return await logitsOf(peftModel);
  });
  assertEquals(inside, base);
  assertEquals(await logitsOf(peftModel), logits);
  assertEquals(trainedNames(peftModel), trained);
  peftModel.dispose();
});

Deno.test("disableAdapter() nests, and ends with an exception too, thrown or rejected", async () => {
  const { peftModel, base, logits } = await acting();
  await peftModel.disableAdapter(async () => {
    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
    assertEquals(await logitsOf(peftModel), base, "still off after the inner one");
  });
  assertEquals(await logitsOf(peftModel), logits);
  assertThrows(
    () =>
      peftModel.disableAdapter(() => {
        throw new RangeError("thrown");
      }),
    RangeError,
    "thrown",
  );
  assertEquals(await logitsOf(peftModel), logits);
  await assertRejects(
    () => peftModel.disableAdapter(() => Promise.reject(new RangeError("rejected"))),
    RangeError,
    "rejected",
  );
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.dispose();
});

Deno.test("disableAdapter() of a merged adapter gives the base too, and the merged one after", async () => {
  const { peftModel, base } = await acting();
  await peftModel.mergeAdapter();
  const merged = await logitsOf(peftModel);
  assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
  assertEquals(await logitsOf(peftModel), merged);
  peftModel.dispose();
});

Deno.test("disableAdapter() warns where biases of the base train", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new LoraConfig({ bias: "all" }));
  const warnings = await warningsOf(() => peftModel.disableAdapter(() => {}));
  assert(warnings[0].startsWith("Careful, disabling adapter layers with bias configured"), `${warnings}`);
  peftModel.dispose();
});

Deno.test("mergeAdapter() computes the same, unmergeAdapter() restores the base bit for bit", async () => {
  const { device, peftModel, logits, baseBytes, model } = await acting({ targetModules: "all-linear" });
  const before = await bytesOf(model);
  const live = device.memory.liveBytes;
  for (const safeMerge of [false, true, false]) {
    await peftModel.mergeAdapter({ safeMerge });
    assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 1e-5 });
    const merged = await bytesOf(model);
    assert(
      merged.get("transformer.h.1.mlp.c_fc.base_layer.weight") !==
        before.get("transformer.h.1.mlp.c_fc.base_layer.weight"),
    );
    assertEquals(await warningsOf(() => peftModel.mergeAdapter()), [
      "All adapters are already merged, nothing to do.",
    ]);
    assertEquals(await bytesOf(model), merged, "merging again changes nothing");
    peftModel.unmergeAdapter();
    assertEquals(await bytesOf(model), before);
    assertEquals(await logitsOf(peftModel), logits);
    assertEquals(device.memory.liveBytes, live);
  }
  assertEquals(await warningsOf(() => peftModel.unmergeAdapter()), ["Already unmerged. Nothing to do."]);
  assertEquals(before.get("transformer.wte.weight"), baseBytes.get("transformer.wte.weight"));
  peftModel.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("mergeAdapter() with safeMerge finds NaN and infinity and leaves the base as it was", async () => {
  for (const value of [NaN, Infinity]) {
    const { device, peftModel, model } = await acting();
    const layer = model.transformer.h[2].attn.c_attn as unknown as LoraLayer;
    const B = layer.lora_B.get("default")!.weight;
    B.write((await B.data() as Float32Array<ArrayBuffer>).with(5, value) as Float32Array<ArrayBuffer>);
    const before = await bytesOf(model);
    const live = device.memory.liveBytes;
    await assertRejects(
      () => peftModel.mergeAdapter({ safeMerge: true }),
      RangeError,
      "Cannot merge: NaNs detected in the merged weights. The adapter default seems to be broken (transformer.h.2.attn.c_attn)",
    );
    assertEquals(await bytesOf(model), before);
    await assertRejects(() => peftModel.mergeAndUnload({ safeMerge: true }), RangeError, "NaNs detected");
    assertEquals(await bytesOf(model), before);
    assertEquals(device.memory.liveBytes, live);
    peftModel.dispose();
  }
});

Deno.test("mergeAndUnload() gives the base model with plain names, merged weights and its own flags", async () => {
  const { device, peftModel, model, logits, baseBytes } = await acting();
  const merged = await peftModel.mergeAndUnload();
  assert(merged === model);
  assertEquals([...merged.namedParameters()].map(([name]) => name), [...baseBytes.keys()]);
  assertAllClose(await logitsOf(merged), logits, { rtol: 0, atol: 1e-5 });
  assert([...merged.parameters()].every((p) => p.requiresGrad), "trainable as before it was wrapped");
  const changed = [...await bytesOf(merged)].filter(([name, bytes]) => bytes !== baseBytes.get(name)).map((
    [n],
  ) => n);
  assertEquals(changed, [0, 1, 2].map((i) => `transformer.h.${i}.attn.c_attn.weight`));
  const again = getPeftModel(merged, new LoraConfig({ r: 2 }));
  again.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("unload() gives the base as it was, merged or not, and frees the adapters", async () => {
  for (const merge of [false, true]) {
    const { device, peftModel, base, baseBytes } = await acting({ modulesToSave: ["ln_f"] });
    if (merge) await peftModel.mergeAdapter();
    const model = peftModel.unload();
    assertEquals(await logitsOf(model), base);
    assertEquals(await bytesOf(model), baseBytes);
    assert([...model.parameters()].every((p) => p.requiresGrad));
    model.dispose();
    assertEquals(device.memory.liveBytes, 0, `${merge}`);
  }
});

Deno.test("the base keeps the flags it had before it was wrapped", async () => {
  const { model } = await tinyModel();
  model.requiresGrad_(false);
  model.transformer.ln_f.weight.requiresGrad = true;
  const peftModel = getPeftModel(model, new LoraConfig({ r: 2 }));
  assert(!model.transformer.ln_f.weight.requiresGrad);
  const back = peftModel.unload();
  assertEquals([...back.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name), [
    "transformer.ln_f.weight",
  ]);
  back.dispose();
});

Deno.test("merging into the tied head, or a copy of it, leaves the embedding alone and survives a save", async () => {
  const cases = [
    { targetModules: ["lm_head"] },
    { targetModules: ["c_attn", "lm_head"] },
    { modulesToSave: ["lm_head"] },
    { modulesToSave: ["wte"] },
  ];
  for (const fields of cases) {
    const label = JSON.stringify(fields);
    const { device, model, peftModel, logits, base, baseBytes } = await acting(fields);
    const live = device.memory.liveBytes;
    await peftModel.mergeAdapter({ safeMerge: true });
    assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 2e-5, label: `${label} merged` });
    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
    peftModel.unmergeAdapter();
    assertEquals(await logitsOf(peftModel), logits, `${label} unmerged`);
    assertEquals(device.memory.liveBytes, live);
    const merged = await peftModel.mergeAndUnload();
    assertAllClose(await logitsOf(merged), logits, { rtol: 0, atol: 2e-5, label: `${label} unloaded` });
    assert([...merged.parameters()].every((p) => p.requiresGrad), label);
    if (!fields.modulesToSave?.includes("wte")) {
      assertEquals(
        (await bytesOf(merged)).get("transformer.wte.weight"),
        baseBytes.get("transformer.wte.weight"),
      );
    }
    await withFolder(async (folder) => {
      await merged.savePretrained(folder);
      const again = await GPT2LMHeadModel.load(folder, { device });
      assertEquals(again.config.tieWordEmbeddings, false);
      assertEquals(await logitsOf(again), await logitsOf(merged), `${label} saved and loaded`);
      again.dispose();
    });
    model.dispose();
    assertEquals(device.memory.liveBytes, 0, label);
  }
});
