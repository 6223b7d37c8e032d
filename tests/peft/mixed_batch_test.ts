import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import {
  BottleneckConfig,
  getPeftModel,
  IA3Config,
  LoraConfig,
  type LoraConfigFields,
  type PeftModel,
  PromptTuningConfig,
  rescaleAdapterScale,
} from "../../peft/mod.ts";
import { acting, BATCH, bytesOf, randomise, tinyModel } from "./tiny_model.ts";

const IDS = [[5, 17, 200, 3, 99], [1, 2, 3, 5, 8], [7, 7, 9, 200, 1], [250, 11, 12, 13, 0]];

type Model = PeftModel<GPT2LMHeadModel>;

/** Adds an adapter with values of its own; "default" stays active. */
async function addOne(model: Model, name: string, fields: Partial<LoraConfigFields>, seed: number) {
  model.addAdapter(name, new LoraConfig(fields));
  model.setAdapter(name);
  await randomise(model, seed);
  model.setAdapter("default");
}

/** Three adapters of different ranks, scalings and targets beside the default one. */
async function several(fields: Partial<LoraConfigFields> = {}) {
  const made = await acting({ targetModules: ["c_attn", "mlp.c_proj"], ...fields });
  await addOne(made.peftModel, "wide", { r: 7, loraAlpha: 3, targetModules: ["c_attn", "c_fc"] }, 3);
  await addOne(made.peftModel, "head", { r: 2, useRslora: true, targetModules: ["c_attn", "lm_head"] }, 4);
  return made;
}

/** Logits of one row under one adapter alone. */
async function alone(model: Model, name: string, row: number[]): Promise<ArrayLike<number>> {
  const run = async () => {
    using output = noGrad(() => model.forward({ inputIds: [row] }));
    return await output.logits.data();
  };
  if (name === "__base__") return await model.disableAdapter(run);
  const before = [...model.activeAdapters];
  model.setAdapter(name);
  const logits = await run();
  model.setAdapter(before);
  return logits;
}

/** Holds each row of a mixed batch against its adapter alone. */
async function assertRows(model: Model, adapterNames: string[], label: string): Promise<void> {
  using output = model.forward({ inputIds: IDS.slice(0, adapterNames.length), adapterNames });
  const logits = await output.logits.data() as Float32Array;
  const size = logits.length / adapterNames.length;
  for (const [i, name] of adapterNames.entries()) {
    const own = logits.slice(i * size, (i + 1) * size);
    assertAllClose(own, await alone(model, name, IDS[i]), {
      rtol: 0,
      atol: 1e-6,
      label: `${label}: ${name}`,
    });
  }
}

Deno.test("forward() with adapterNames gives each row its adapter's logits: ranks, scalings, targets and base differ", async () => {
  const { device, peftModel } = await several();
  const live = device.memory.liveBytes;
  await assertRows(peftModel, ["wide", "__base__", "default", "head"], "all");
  await assertRows(peftModel, ["head", "head", "wide", "head"], "two");
  await assertRows(peftModel, ["__base__", "__base__"], "base alone");
  assertEquals(device.memory.liveBytes, live, "the copied factors are given back");
  assertEquals(peftModel.activeAdapters, ["default"]);
  peftModel.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("forward() with adapterNames launches as often for four adapters as for one", async () => {
  const { device, peftModel } = await acting();
  for (const [i, name] of ["a", "b", "c"].entries()) await addOne(peftModel, name, { r: 4 }, i + 3);
  const launches = (adapterNames: string[]) => {
    const before = device.stats.dispatches;
    peftModel.forward({ inputIds: IDS, adapterNames }).dispose();
    return device.stats.dispatches - before;
  };
  const one = launches(["a", "a", "a", "a"]);
  assertEquals(launches(["a", "b", "c", "default"]), one);
  peftModel.dispose();
});

Deno.test("forward() with adapterNames and labels has the loss of the rows, and no gradient", async () => {
  const { peftModel } = await several();
  const adapterNames = ["wide", "default"];
  const labels = IDS.slice(0, 2);
  using mixed = peftModel.forward({ inputIds: labels, labels, adapterNames });
  const losses: number[] = [];
  for (const [i, name] of adapterNames.entries()) {
    peftModel.setAdapter(name);
    using output = peftModel.forward({ inputIds: [IDS[i]], labels: [IDS[i]] });
    losses.push(await output.loss!.item());
  }
  assertAllClose([await mixed.loss!.item()], [(losses[0] + losses[1]) / 2], { rtol: 0, atol: 1e-6 });
  assert(!mixed.loss!.requiresGrad);
  peftModel.dispose();
});

Deno.test("logits that are read after the forward are those of the adapters that acted in it, also of an adapted head", async () => {
  for (const fields of [{ targetModules: ["lm_head"] }, { modulesToSave: ["lm_head"] }]) {
    const { peftModel, base, logits } = await acting(fields);
    await addOne(peftModel, "plain", { r: 2 }, 5);
    const read = (output: ReturnType<GPT2LMHeadModel["forward"]>) => output.logits.data();
    using off = peftModel.disableAdapter(() => peftModel.forward(BATCH));
    assertAllClose(await read(off), base, { rtol: 0, atol: 1e-6 });
    using on = peftModel.forward(BATCH);
    using mixed = peftModel.forward({ ...BATCH, adapterNames: ["plain", "default"] });
    using none = peftModel.forward({ ...BATCH, adapterNames: ["__base__", "__base__"] });
    peftModel.setAdapter("plain");
    assertAllClose(await read(on), logits, { rtol: 0, atol: 1e-5 });
    assertAllClose(await read(none), base, { rtol: 0, atol: 1e-6 });
    const half = logits.length / 2;
    assertAllClose((await read(mixed)).slice(half), logits.slice(half), { rtol: 0, atol: 1e-5 });
    using plain = peftModel.forward(BATCH);
    assertAllClose((await read(mixed)).slice(0, half), (await read(plain)).slice(0, half), {
      rtol: 0,
      atol: 1e-6,
    });
    peftModel.dispose();
  }
});

Deno.test("generate() with adapterNames continues each row as its adapter alone, also padded and without a cache", async () => {
  const { device, peftModel } = await several();
  const live = device.memory.liveBytes;
  const adapterNames = ["wide", "__base__", "default", "head"];
  const options = { maxNewTokens: 6, eosTokenId: null };
  for (const useCache of [true, false]) {
    const mixed = await peftModel.generate(IDS, { ...options, useCache, adapterNames });
    for (const [i, name] of adapterNames.entries()) {
      const run = () => peftModel.generate([IDS[i]], { ...options, useCache });
      if (name !== "__base__") peftModel.setAdapter(name);
      const [row] = await (name === "__base__" ? peftModel.disableAdapter(run) : run());
      assertEquals(mixed[i], row, `${name}, cache ${useCache}`);
    }
  }
  peftModel.setAdapter("default");
  const padded = {
    inputIds: [[0, 0, 5, 17, 200], IDS[1]],
    attentionMask: [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]],
  };
  const mixed = await peftModel.generate(padded, { ...options, adapterNames: ["wide", "head"] });
  peftModel.setAdapter("wide");
  const [own] = await peftModel.generate([[5, 17, 200]], options);
  assertEquals(mixed[0].slice(2), own);
  assertEquals(device.memory.liveBytes, live);
  peftModel.dispose();
});

Deno.test("a forward while a mixed generation runs sees the active adapters, or those of its own rows", async () => {
  const { peftModel } = await several();
  const before = await alone(peftModel, "default", IDS[0]);
  const options = { maxNewTokens: 4, eosTokenId: null, adapterNames: ["wide", "head"] };
  const tokens = await peftModel.generate(IDS.slice(0, 2), options);
  const running = peftModel.generate(IDS.slice(0, 2), options);
  assertEquals(await alone(peftModel, "default", IDS[0]), before);
  await assertRows(peftModel, ["__base__", "default", "wide"], "meanwhile");
  assertEquals(await running, tokens);
  peftModel.dispose();
});

Deno.test("a mixed batch uses the scalings as they are now, not those the adapters started with", async () => {
  const { peftModel } = await several({ targetModules: ["c_attn", "wte", "mlp.c_proj"] });
  peftModel.setScale("default", 3);
  peftModel.setScale("wide", 0.25);
  await assertRows(peftModel, ["default", "wide", "head", "__base__"], "set");
  peftModel.setScale("default", 1);
  const plain = await alone(peftModel, "default", IDS[0]);
  const rescaled = await rescaleAdapterScale(peftModel, 0.5, async () => {
    await assertRows(peftModel, ["default", "wide", "head", "__base__"], "rescaled");
    return await alone(peftModel, "default", IDS[0]);
  });
  assert([...plain as Float32Array].some((value, i) => Math.abs(value - rescaled[i]) > 1e-3));
  peftModel.dispose();
});

Deno.test("a mixed batch takes embeddings, biases of B and adapters that start from the weight", async () => {
  const { peftModel } = await acting({ targetModules: ["c_attn", "wte", "wpe"] });
  await addOne(peftModel, "biased", { r: 2, loraBias: true, targetModules: ["c_attn", "c_fc"] }, 5);
  await addOne(peftModel, "tokens", { r: 3, targetModules: ["wte", "c_fc"] }, 6);
  peftModel.addAdapter("pissa", new LoraConfig({ r: 2, initLoraWeights: "pissa" }));
  peftModel.setAdapter("pissa");
  await randomise(peftModel, 8);
  peftModel.setAdapter("default");
  await assertRows(peftModel, ["biased", "tokens", "default", "pissa"], "variants");
  await assertRows(peftModel, ["tokens", "__base__", "tokens", "default"], "embeddings");
  const adapterNames = ["tokens", "default", "biased", "__base__"];
  const options = { maxNewTokens: 5, eosTokenId: null };
  const rows = await peftModel.generate(IDS, { ...options, adapterNames });
  for (const [i, name] of adapterNames.slice(0, 3).entries()) {
    peftModel.setAdapter(name);
    assertEquals([rows[i]], await peftModel.generate([IDS[i]], options), name);
  }
  peftModel.dispose();
});

Deno.test("a mixed batch gives each row its adapter's trained tokens, also in a tied head", async () => {
  const { peftModel } = await acting({ trainableTokenIndices: [5, 200, 7] });
  await addOne(peftModel, "others", { r: 2, targetModules: ["c_fc"], trainableTokenIndices: [5, 13] }, 5);
  await addOne(peftModel, "plain", { r: 2 }, 6);
  await assertRows(peftModel, ["others", "plain", "default", "__base__"], "tokens");
  const adapterNames = ["default", "others"];
  const labels = IDS.slice(0, 2);
  using mixed = peftModel.forward({ inputIds: labels, labels, adapterNames });
  const losses: number[] = [];
  for (const [i, name] of adapterNames.entries()) {
    peftModel.setAdapter(name);
    using output = peftModel.forward({ inputIds: [IDS[i]], labels: [IDS[i]] });
    losses.push(await output.loss!.item());
  }
  assertAllClose([await mixed.loss!.item()], [(losses[0] + losses[1]) / 2], { rtol: 0, atol: 1e-6 });
  peftModel.dispose();
});

Deno.test("a mixed batch runs each row through its adapter's copy of a module trained whole", async () => {
  const { peftModel } = await acting({ modulesToSave: ["ln_f"] });
  await addOne(peftModel, "other", {
    r: 2,
    targetModules: ["c_fc"],
    modulesToSave: ["ln_f", "h.1.mlp.c_proj"],
  }, 6);
  await addOne(peftModel, "plain", { r: 2 }, 7);
  await assertRows(peftModel, ["other", "plain", "default", "default"], "copies");
  peftModel.dispose();
});

Deno.test("adapterNames that cannot be mixed are errors of peft's words that change nothing", async () => {
  const { peftModel } = await several();
  const inputIds = IDS.slice(0, 2);
  const before = await bytesOf(peftModel);
  const refuse = (adapterNames: string[], message: string, model: Model = peftModel) =>
    assertThrows(
      () => model.forward({ inputIds, adapterNames }),
      RangeError,
      `Cannot mix adapters: ${message}`,
    );
  refuse(
    ["default"],
    "Length of `adapter_names` should be the same as the number of inputs, but got 1 and 2 respectively.",
  );
  refuse(["default", "nope"], "Trying to infer with non-existing adapter(s): nope");
  peftModel.train();
  refuse(["default", "wide"], "Cannot pass `adapter_names` when the model is in training mode.");
  peftModel.eval();
  await peftModel.mergeAdapter();
  refuse(
    ["default", "wide"],
    "Cannot pass `adapter_names` when there are merged adapters, please call `unmerge_adapter` first.",
  );
  peftModel.unmergeAdapter();
  peftModel.addAdapter("dora", new LoraConfig({ r: 2, useDora: true, targetModules: ["c_fc"] }));
  refuse(["default", "dora"], "Cannot pass `adapter_names` when DoRA is enabled.");
  peftModel.deleteAdapter("dora");
  const generating = peftModel.generate(IDS, { adapterNames: ["default"] }); // rejects, does not throw
  await assertRejects(() => generating, RangeError, "but got 1 and 4 respectively");
  assertEquals(await bytesOf(peftModel), before);
  await assertRows(peftModel, ["wide", "default"], "still works");
  peftModel.dispose();
});

Deno.test("adapterNames of virtual tokens are refused", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new PromptTuningConfig({ numVirtualTokens: 2 })).eval();
  const message = "Cannot mix adapters: adapters that wrap layers are required, received virtual tokens";
  const adapterNames = IDS.map(() => "default");
  assertThrows(() => peftModel.forward({ inputIds: IDS, adapterNames }), TypeError, message);
  await assertRejects(() => peftModel.generate(IDS, { adapterNames }), TypeError, message);
  peftModel.dispose();
});

Deno.test("a mixed batch of (IA)^3 and bottleneck adapters generates each row as its adapter alone", async () => {
  for (const config of [new IA3Config(), BottleneckConfig.named("double_seq_bn", { reductionFactor: 4 })]) {
    const { model } = await tinyModel();
    const peftModel = getPeftModel(model, config).eval();
    await randomise(peftModel, 2);
    peftModel.addAdapter("other", config, { seed: 3 });
    peftModel.setAdapter("other");
    await randomise(peftModel, 4);
    const options = { maxNewTokens: 5, eosTokenId: null };
    const adapterNames = ["other", "__base__", "default", "default"];
    const rows = await peftModel.generate(IDS, { ...options, adapterNames });
    for (const [i, name] of adapterNames.entries()) {
      const run = () => peftModel.generate([IDS[i]], options);
      if (name !== "__base__") peftModel.setAdapter(name);
      const [row] = await (name === "__base__" ? peftModel.disableAdapter(run) : run());
      assertEquals(rows[i], row, `${config.peftType}: ${name}`);
    }
    peftModel.dispose();
  }
});
