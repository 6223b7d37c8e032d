import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BitFitConfig,
  BottleneckConfig,
  getPeftModel,
  LNTuningConfig,
  LoraConfig,
  type LoraLayer,
  PeftModel,
  PrefixTuningConfig,
  rescaleAdapterScale,
} from "../../peft/mod.ts";
import { FIXTURES } from "../reference/fixtures.ts";
import {
  acting,
  bytesOf,
  logitsOf,
  randomise,
  tinyModel,
  trainedNames,
  warningsOf,
  withFolder,
} from "./tiny_model.ts";

Deno.test("renameAdapter() keeps logits, flags, order and file, and refuses taken and unknown names", async () => {
  const { device, peftModel, logits } = await acting({ modulesToSave: ["ln_f"], useDora: true });
  peftModel.addAdapter("other", new LoraConfig({ r: 2 }));
  const live = device.memory.liveBytes;
  const before = trainedNames(peftModel);
  await withFolder(async (folder) => {
    await peftModel.savePretrained(`${folder}/old`, { selectedAdapters: ["default"] });
    peftModel.renameAdapter("default", "english");
    assertEquals([peftModel.activeAdapters, Object.keys(peftModel.peftConfig)], [["english"], [
      "english",
      "other",
    ]]);
    assertEquals(await logitsOf(peftModel), logits);
    assertEquals(trainedNames(peftModel), before.map((name) => name.replace(".default", ".english")));
    await peftModel.savePretrained(`${folder}/new`, { selectedAdapters: ["english"] });
    const file = (path: string) => Deno.readFile(`${folder}/${path}/adapter_model.safetensors`);
    assertEquals(await file("new/english"), await file("old"));
  });
  await peftModel.mergeAdapter();
  peftModel.renameAdapter("english", "french");
  peftModel.unmergeAdapter();
  assertEquals(await logitsOf(peftModel), logits, "a merged one can be renamed and unmerged");
  assertThrows(
    () => peftModel.renameAdapter("nope", "x"),
    RangeError,
    'Cannot use adapter "nope": Adapter nope does not exist, adapters here are "french", "other"',
  );
  assertThrows(() => peftModel.renameAdapter("french", "other"), RangeError, "already exists");
  assertThrows(() => peftModel.renameAdapter("french", "a b"), RangeError, "without dots and spaces");
  peftModel.deleteAdapter("other");
  peftModel.setScale("french", 1);
  assertEquals(device.memory.liveBytes <= live, true);
  peftModel.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("renameAdapter() of every method keeps logits, merged logits and file", async () => {
  const folders = ["lora", "lora_variants", "methods", "prompt"].flatMap((kind) =>
    [...Deno.readDirSync(`${FIXTURES}${kind}`)].map(({ name }) => `${FIXTURES}${kind}/${name}`).sort()
  );
  for (const folder of folders) {
    const { model } = await tinyModel();
    const peftModel = await PeftModel.fromPretrained(model, folder);
    const logits = await logitsOf(peftModel);
    peftModel.renameAdapter("default", "english");
    assertEquals(await logitsOf(peftModel), logits, folder);
    const names = [...peftModel.namedParameters()].map(([name]) => name);
    assert(
      names.some((name) => name.includes("english")) && !names.some((name) => name.includes(".default")),
      folder,
    );
    await withFolder(async (target) => {
      await peftModel.savePretrained(target);
      const file = (path: string) => Deno.readFile(`${path}/adapter_model.safetensors`);
      assertEquals(await file(`${target}/english`), await file(folder), folder);
    });
    if (!folder.includes("/prompt/")) {
      await peftModel.mergeAdapter();
      assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 2e-5, label: folder });
    }
    peftModel.dispose();
  }
});

Deno.test("renameAdapter() of BitFit and bottleneck adapters keeps logits and what loads again", async () => {
  for (const config of [new BitFitConfig(), new BottleneckConfig({ mhAdapter: true })]) {
    const { model } = await tinyModel();
    const peftModel = getPeftModel(model, config).eval();
    await randomise(peftModel);
    const logits = await logitsOf(peftModel);
    peftModel.renameAdapter("default", "english");
    assertEquals(await logitsOf(peftModel), logits);
    await withFolder(async (folder) => {
      await peftModel.savePretrained(folder);
      const { model: other } = await tinyModel();
      const again = await PeftModel.fromPretrained(other, `${folder}/english`);
      assertEquals(await logitsOf(again), logits);
      again.dispose();
    });
    peftModel.dispose();
  }
});

Deno.test("disableAdapterLayers() gives the base bit for bit until enableAdapterLayers(), flags included", async () => {
  const { peftModel, base, logits } = await acting();
  const trained = trainedNames(peftModel);
  peftModel.disableAdapterLayers();
  assertEquals(await logitsOf(peftModel), base);
  assertEquals(trainedNames(peftModel), []);
  peftModel.disableAdapterLayers();
  assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
  assertEquals(await logitsOf(peftModel), base, "still off after disableAdapter()");
  peftModel.enableAdapterLayers();
  assertEquals(await logitsOf(peftModel), logits);
  assertEquals(trainedNames(peftModel), trained);
  await peftModel.mergeAdapter();
  peftModel.disableAdapterLayers();
  assertEquals(await logitsOf(peftModel), base, "what was merged is unmerged");
  peftModel.enableAdapterLayers();
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.dispose();
});

Deno.test("disableAdapterLayers() switches virtual tokens off, and warns where biases train", async () => {
  const { model } = await tinyModel();
  const base = await logitsOf(model);
  const peftModel = getPeftModel(model, new PrefixTuningConfig({ numVirtualTokens: 3 })).eval();
  const logits = await logitsOf(peftModel);
  peftModel.disableAdapterLayers();
  assertEquals(await logitsOf(peftModel), base);
  peftModel.enableAdapterLayers();
  assertEquals(await logitsOf(peftModel), logits);
  assertEquals(trainedNames(peftModel).length, 1);
  peftModel.dispose();
  const { peftModel: biased } = await acting({ bias: "lora_only" });
  const [warning] = await warningsOf(() => biased.disableAdapterLayers());
  assert(
    warning.startsWith("Careful, disabling adapter layers with bias configured to be other than 'none'"),
  );
  biased.dispose();
});

Deno.test("setRequiresGrad() switches the training of the named adapters alone", async () => {
  const { peftModel } = await acting({ modulesToSave: ["ln_f"] });
  peftModel.addAdapter("other", new LoraConfig({ r: 2 }));
  const own = trainedNames(peftModel);
  peftModel.setRequiresGrad("other");
  assertEquals(trainedNames(peftModel).length, own.length + 6);
  peftModel.setRequiresGrad(["default", "other"], false);
  assertEquals(trainedNames(peftModel), []);
  peftModel.setRequiresGrad("default");
  assertEquals(trainedNames(peftModel), own);
  assertThrows(
    () => peftModel.setRequiresGrad(["default", "nope"]),
    RangeError,
    "Adapter nope does not exist",
  );
  peftModel.dispose();
});

Deno.test("setAdapter() with inferenceMode makes an adapter act without training", async () => {
  const { peftModel, logits } = await acting();
  peftModel.setAdapter("default", { inferenceMode: true });
  assertEquals(trainedNames(peftModel), []);
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.dispose();
});

Deno.test("two adapters that train the same module whole cannot act together; nothing changes", async () => {
  const { peftModel, logits } = await acting({ modulesToSave: ["ln_f"] });
  peftModel.addAdapter("other", new LoraConfig({ r: 2, modulesToSave: ["ln_f"] }));
  peftModel.addAdapter("plain", new LoraConfig({ r: 2 }));
  await peftModel.mergeAdapter();
  const before = await bytesOf(peftModel);
  assertThrows(
    () => peftModel.setAdapter(["default", "other"]),
    RangeError,
    'Cannot activate default, other: Only one adapter can be set at a time for "transformer.ln_f", which is trained whole, got 2',
  );
  assertThrows(() => peftModel.setAdapter([]), RangeError, "Please specify at least one adapter to set");
  assertEquals(await bytesOf(peftModel), before, "not even unmerged");
  peftModel.unmergeAdapter();
  peftModel.setAdapter(["default", "plain"]);
  assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 1e-5 });
  peftModel.dispose();
});

Deno.test("generate() takes rows, or what a tokenizer gives, with the same tokens", async () => {
  const { peftModel } = await acting();
  const rows = [[5, 17, 200, 3], [1, 2, 3, 5]];
  const options = { maxNewTokens: 4, eosTokenId: null };
  const byKeyword = await peftModel.generate(
    { inputIds: rows, attentionMask: rows.map(() => [1, 1, 1, 1]) },
    options,
  );
  assertEquals(await peftModel.generate(rows, options), byKeyword);
  assertEquals(await peftModel.generate({ inputIds: rows }, options), byKeyword);
  peftModel.dispose();
});

Deno.test("setScale(), scaleLayer() and unscaleLayer() change the scaling from the initial one, as peft's do", async () => {
  const { peftModel, model, base, logits } = await acting({ r: 4, loraAlpha: 6, useRslora: true });
  peftModel.addAdapter("other", new LoraConfig({ r: 2 }));
  const layer = model.transformer.h[0].attn.c_attn as unknown as LoraLayer;
  const scaling = () => layer.scaling.get("default")!;
  assertEquals(scaling(), 3);
  peftModel.setScale("default", 0);
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-6 });
  peftModel.setScale("default", 0.5);
  assertEquals(scaling(), 1.5);
  layer.scaleLayer(4);
  assertEquals([scaling(), layer.scaling.get("other")], [6, 4], "the active one alone");
  layer.unscaleLayer(3);
  assertEquals(scaling(), 2);
  layer.unscaleLayer();
  assertEquals(scaling(), 3);
  layer.setScale("default", 2);
  assertEquals(scaling(), 6);
  peftModel.setScale("default", 1);
  assertEquals(await logitsOf(peftModel), logits);
  assertThrows(() => peftModel.setScale("nope", 1), RangeError, "Adapter nope does not exist");
  assertThrows(
    () => peftModel.setScale("default", Infinity),
    RangeError,
    'Cannot scale "default": a finite factor is required, received Infinity',
  );
  peftModel.dispose();
  const { model: plain } = await tinyModel();
  const other = getPeftModel(plain, new LNTuningConfig());
  assertThrows(
    () => other.setScale("default", 1),
    RangeError,
    "scaling is only supported for models with `LoraLayer`s",
  );
  other.dispose();
});

Deno.test("rescaleAdapterScale() holds for its body alone, also asynchronous or failing; two nest", async () => {
  const { peftModel, base, logits } = await acting();
  assertAllClose(await rescaleAdapterScale(peftModel, 0, () => logitsOf(peftModel)), base, {
    rtol: 0,
    atol: 1e-6,
  });
  assertEquals(await logitsOf(peftModel), logits);
  assertThrows(
    () =>
      rescaleAdapterScale(peftModel, 2, () => {
        throw new Error("body");
      }),
    Error,
    "body",
  );
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.setScale("default", 0.5);
  const half = await logitsOf(peftModel);
  peftModel.setScale("default", 1);
  const nested = await rescaleAdapterScale(
    peftModel,
    2,
    () => rescaleAdapterScale(peftModel, 0.25, () => logitsOf(peftModel)),
  );
  assertEquals(nested, half);
  assertEquals(await logitsOf(peftModel), logits);
  assertThrows(
    () => rescaleAdapterScale(peftModel, "2" as unknown as number, () => {}),
    TypeError,
    "Cannot rescale adapters: Argument multiplier should be of type float, got 2",
  );
  const { model } = await tinyModel();
  assertThrows(
    () => rescaleAdapterScale(model, 2, () => {}),
    RangeError,
    "Cannot rescale adapters: scaling is only supported for models with `LoraLayer`s",
  );
  peftModel.dispose();
  model.dispose();
});

Deno.test("several adapters merge at once as one after the other, and unmerge from any state bit for bit", async () => {
  const { peftModel, model, logits } = await acting();
  peftModel.addAdapter("other", new LoraConfig({ r: 2, targetModules: ["c_attn", "c_fc"] }));
  peftModel.setAdapter("other");
  await randomise(peftModel, 3);
  peftModel.setAdapter("default");
  const before = await bytesOf(model);
  await peftModel.mergeAdapter({ adapterNames: ["default", "other"] });
  const together = await bytesOf(model);
  peftModel.unmergeAdapter();
  assertEquals(await bytesOf(model), before);
  await peftModel.mergeAdapter({ adapterNames: ["default"] });
  await peftModel.mergeAdapter({ adapterNames: ["other"], safeMerge: true });
  assertEquals(await bytesOf(model), together);
  peftModel.unmergeAdapter();
  assertEquals(await bytesOf(model), before);
  await peftModel.mergeAdapter({ adapterNames: ["other", "other"] });
  peftModel.unmergeAdapter();
  assertEquals(await bytesOf(model), before, "a name twice is merged once");
  assertEquals(await logitsOf(peftModel), logits);
  await assertRejects(
    () => peftModel.mergeAdapter({ adapterNames: ["default", "nope"] }),
    RangeError,
    "Adapter nope does not exist",
  );
  assertEquals(await bytesOf(model), before);
  peftModel.dispose();
});

Deno.test("safeMerge of a broken adapter beside a merged one leaves the base and the merged one byte for byte", async () => {
  const { peftModel, model } = await acting();
  peftModel.addAdapter("broken", new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
  const layer = model.transformer.h[1].mlp.c_fc as unknown as LoraLayer;
  const { weight } = layer.lora_B.get("broken")!;
  weight.write(new Float32Array(weight.size).fill(NaN));
  await peftModel.mergeAdapter({ adapterNames: ["default"] });
  const before = await bytesOf(model);
  await assertRejects(
    () => peftModel.mergeAdapter({ adapterNames: ["broken"], safeMerge: true }),
    RangeError,
    "The adapter broken seems to be broken",
  );
  assertEquals(await bytesOf(model), before);
  peftModel.dispose();
});
