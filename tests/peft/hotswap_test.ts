import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { captureStep, noGrad, type Tensor, tidy } from "../../autograd/mod.ts";
import {
  getPeftModel,
  hotswapAdapter,
  IA3Config,
  injectAdapterInModel,
  LoraConfig,
  type LoraConfigFields,
  PeftModel,
} from "../../peft/mod.ts";
import { load, save } from "../../io/safetensors.ts";
import { acting, BATCH, bytesOf, logitsOf, randomise, tinyModel, withFolder } from "./tiny_model.ts";

/** Saves an adapter of other values and gives its logits. */
async function saved(folder: string, fields: Partial<LoraConfigFields>, seed = 7): Promise<Float32Array> {
  const { peftModel } = await acting({ ...fields });
  for (const [, parameter] of peftModel.namedParameters()) {
    if (!parameter.requiresGrad) continue;
    const data = await parameter.data() as Float32Array<ArrayBuffer>;
    parameter.write(data.map((value, i) => Math.sin(value * seed + i) * 0.2));
  }
  const logits = await logitsOf(peftModel);
  await peftModel.savePretrained(folder);
  peftModel.dispose();
  return logits;
}

Deno.test("hotswapAdapter() of the same, a smaller rank and another alpha gives the new adapter's logits in the same buffers", async () => {
  const cases: [string, Partial<LoraConfigFields>, Partial<LoraConfigFields>][] = [
    ["same rank", { r: 4, loraAlpha: 8 }, { r: 4, loraAlpha: 8 }],
    ["smaller rank", { r: 8, loraAlpha: 16 }, { r: 4, loraAlpha: 4 }],
    ["another alpha", { r: 4, loraAlpha: 8 }, { r: 3, loraAlpha: 7 }],
    ["rsLoRA", { r: 4, useRslora: true }, { r: 2, loraAlpha: 5, useRslora: true }],
    ["rank pattern", { r: 4 }, { r: 4, rankPattern: { "h.1.attn.c_attn": 2 } }],
    ["alpha pattern", { r: 4, alphaPattern: { "h.1.attn.c_attn": 3 } }, {
      r: 2,
      alphaPattern: { "h.1.attn.c_attn": 3 },
    }],
    ["DoRA", { r: 4, useDora: true }, { r: 2, useDora: true }],
    ["bias of B", { r: 4, loraBias: true }, { r: 2, loraAlpha: 5, loraBias: true }],
    ["embeddings", { r: 4, targetModules: ["wte", "c_fc"] }, { r: 3, targetModules: ["wte", "c_fc"] }],
    ["tokens", { r: 4, trainableTokenIndices: [5, 9] }, { r: 2, trainableTokenIndices: [5, 9] }],
    ["modules trained whole", { r: 4, modulesToSave: ["ln_f"] }, { r: 4, modulesToSave: ["ln_f"] }],
  ];
  for (const [label, own, next] of cases) {
    await withFolder(async (folder) => {
      const wanted = await saved(folder, next);
      const { device, peftModel } = await acting(own);
      const live = device.memory.liveBytes;
      const compiled = device.stats.pipelines;
      const parameters = [...peftModel.parameters()].map((p) => p.storage);
      await hotswapAdapter(peftModel, folder, "default");
      assertEquals(device.memory.liveBytes, live, label);
      assert([...peftModel.parameters()].every((p, i) => p.storage === parameters[i]), label);
      assertAllClose(await logitsOf(peftModel), wanted, { rtol: 0, atol: 2e-6, label });
      assertEquals(device.stats.pipelines, compiled, `${label}: nothing is compiled anew`);
      await peftModel.savePretrained(`${folder}/again`);
      const { model } = await tinyModel();
      const again = await PeftModel.fromPretrained(model, `${folder}/again`);
      assertAllClose(await logitsOf(again), wanted, { rtol: 0, atol: 2e-6, label: `${label}, saved` });
      again.dispose();
      peftModel.dispose();
    });
  }
});

Deno.test("hotswapAdapter() into and out of adapters of alpha 0 gives the new adapter's logits, also once saved", async () => {
  const pattern = { alphaPattern: { "h.0.attn.c_attn": 0 } };
  const cases: [string, Partial<LoraConfigFields>, Partial<LoraConfigFields>][] = [
    ["from alpha 0", { r: 4, loraAlpha: 0 }, { r: 2, loraAlpha: 3 }],
    ["from alpha 0, some layers of another rank", { r: 4, loraAlpha: 0 }, {
      r: 4,
      loraAlpha: 3,
      rankPattern: { "h.1.attn.c_attn": 2 },
    }],
    ["0 by a pattern of both", { r: 4, ...pattern }, { r: 3, ...pattern }],
    ["0 by a pattern and everywhere", { r: 4, loraAlpha: 0, ...pattern }, { r: 3, ...pattern }],
  ];
  const made = async (fields: Partial<LoraConfigFields>) =>
    getPeftModel((await tinyModel()).model, new LoraConfig(fields)).eval();
  for (const [label, own, next] of cases) {
    await withFolder(async (folder) => {
      const wanted = await saved(folder, next);
      const peftModel = await made(own);
      await hotswapAdapter(peftModel, folder, "default");
      assertAllClose(await logitsOf(peftModel), wanted, { rtol: 0, atol: 2e-6, label });
      await peftModel.savePretrained(`${folder}/again`);
      const again = await PeftModel.fromPretrained((await tinyModel()).model, `${folder}/again`);
      assertAllClose(await logitsOf(again), wanted, { rtol: 0, atol: 2e-6, label: `${label}, saved` });
      again.dispose();
      peftModel.dispose();
    });
  }
  await withFolder(async (folder) => {
    const silent = await made({ r: 4, loraAlpha: 0 });
    const base = await logitsOf(silent);
    await silent.savePretrained(folder);
    silent.dispose();
    await saved(`${folder}/next`, { r: 4, loraAlpha: 3 });
    const captured = await made({ r: 4, loraAlpha: 0 });
    const { device } = captured.getBaseModel();
    const step = captureStep(
      device,
      () => tidy(() => noGrad(() => captured.forward({ inputIds: BATCH.inputIds }).logits as Tensor)),
    );
    for (let i = 0; i < 2; i++) assertEquals(await (await step({})).data(), base);
    await hotswapAdapter(captured, `${folder}/next`, "default");
    for (let i = 0; i < 2; i++) assertEquals(await (await step({})).data(), await logitsOf(captured));
    captured.dispose();
    for (const own of [{ r: 4, loraAlpha: 8 }, { r: 4, loraAlpha: 0 }]) {
      const peftModel = await made(own);
      await randomise(peftModel);
      await hotswapAdapter(peftModel, folder, "default");
      assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-6 });
      peftModel.dispose();
    }
  });
});

Deno.test("a captured step goes on with the adapter that is hot-swapped in", async () => {
  await withFolder(async (folder) => {
    const wanted = await saved(folder, { r: 2, loraAlpha: 3 });
    const { device, peftModel } = await acting({ r: 4, loraAlpha: 8 });
    const step = captureStep(
      device,
      () => tidy(() => noGrad(() => peftModel.forward({ inputIds: BATCH.inputIds }).logits as Tensor)),
    );
    await (await step({})).data();
    await (await step({})).data();
    await hotswapAdapter(peftModel, folder, "default");
    assertAllClose(await (await step({})).data(), wanted, { rtol: 0, atol: 2e-6 });
    peftModel.dispose();
  });
});

Deno.test("hotswapAdapter() takes a model with an injected adapter", async () => {
  await withFolder(async (folder) => {
    const wanted = await saved(folder, { r: 2, loraAlpha: 8 });
    const { model } = await tinyModel();
    injectAdapterInModel(new LoraConfig({ r: 4, loraAlpha: 8 }), model);
    await hotswapAdapter(model, folder, "default");
    assertAllClose(await logitsOf(model), wanted, { rtol: 0, atol: 2e-6 });
    model.dispose();
  });
});

Deno.test("hotswapAdapter() makes keys that the file lacks zero", async () => {
  await withFolder(async (folder) => {
    const wanted = await saved(folder, { r: 4, loraAlpha: 8, layersToTransform: [1] });
    const { peftModel } = await acting({ r: 4, loraAlpha: 8 });
    await hotswapAdapter(peftModel, folder, "default");
    assertAllClose(await logitsOf(peftModel), wanted, { rtol: 0, atol: 1e-6 });
    peftModel.dispose();
  });
});

Deno.test("hotswapAdapter() refuses what does not fit, in peft's words, and changes nothing", async () => {
  const cases: [Partial<LoraConfigFields>, string][] = [
    [{ useRslora: true }, "Configs are incompatible: for useRslora, false != true"],
    [
      { initLoraWeights: "olora" },
      "plain LoRA is required, received an adapter that starts from the weight of",
    ],
    [{ trainableTokenIndices: [3] }, "Configs are incompatible: for trainableTokenIndices, null != [3]"],
    [{ loraDropout: 0.5 }, "Configs are incompatible: for loraDropout, 0 != 0.5"],
    [{ alphaPattern: { c_attn: 3 } }, 'Configs are incompatible: for alphaPattern, {} != {"c_attn":3}'],
    [{ useDora: true }, "Configs are incompatible: for useDora, false != true"],
    [
      { r: 8 },
      "Incompatible shapes found for LoRA weights base_model.model.transformer.h.0.attn.c_attn.lora_A.weight: [4, 48] vs [8, 48]",
    ],
    [
      { targetModules: ["c_attn", "c_fc"] },
      "Hot swapping the adapter did not succeed, unexpected keys found: base_model.model.transformer.h.0.mlp.c_fc.lora_A.weight, ",
    ],
  ];
  const { peftModel } = await acting();
  const before = await bytesOf(peftModel);
  const refuse = async (folder: string, message: string, name = "default") => {
    const error = await assertRejects(() => hotswapAdapter(peftModel, folder, name), Error, message);
    assert(error instanceof RangeError || error instanceof TypeError);
  };
  for (const [fields, message] of cases) {
    await withFolder(async (folder) => {
      await saved(folder, fields);
      await refuse(folder, `Cannot hot-swap the adapter: ${message}`);
    });
  }
  await withFolder(async (folder) => {
    const { model } = await tinyModel();
    const other = getPeftModel(model, new IA3Config());
    await other.savePretrained(folder);
    await refuse(folder, "Incompatible PEFT types found: LORA and IA3");
    await assertRejects(
      () => hotswapAdapter(other, folder, "default"),
      RangeError,
      "Hotswapping only supports LORA but IA3 was passed.",
    );
    other.dispose();
    await saved(folder, {});
    await refuse(folder, "Adapter nope does not exist", "nope");
    await peftModel.mergeAdapter();
    await refuse(folder, '"default" is merged, call unmergeAdapter() first');
    peftModel.unmergeAdapter();
    const path = `${folder}/adapter_model.safetensors`;
    const file = new Map([...await load(path)].filter(([key]) => !key.includes("h.2.")));
    await save(path, Object.fromEntries(file), { format: "pt" });
    assertEquals(await bytesOf(peftModel), before);
    await hotswapAdapter(peftModel, folder, "default");
    const { peftModel: whole } = await acting({ modulesToSave: ["ln_f"] });
    await assertRejects(
      () => hotswapAdapter(whole, folder, "default"),
      TypeError,
      "only keys of A and B may be missing, received a file without base_model.model.transformer.ln_f.weight, ",
    );
    whole.dispose();
  });
  peftModel.dispose();
});
