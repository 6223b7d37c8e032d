import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  getPeftModel,
  LoraConfig,
  type LoraConfigFields,
  TrainableTokensConfig,
  type TrainableTokensConfigFields,
} from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";
import { BATCH, bytesOf, logitsOf, randomise, tinyModel, warningsOf } from "./tiny_model.ts";

const TOKENS = [17, 5, 200, 201];

/** Both ways to train tokens. */
const CONFIGS = {
  "LoRA with trainableTokenIndices": () => new LoraConfig({ r: 2, trainableTokenIndices: TOKENS }),
  "trainable tokens": () => new TrainableTokensConfig({ tokenIndices: TOKENS }),
};

for (const [label, config] of Object.entries(CONFIGS)) {
  Deno.test(`${label} starts as the base, changes chosen rows alone, and stays tied when merged`, async () => {
    const { model } = await tinyModel();
    const [base, baseBytes] = [await logitsOf(model), await bytesOf(model)];
    const names = [...model.namedParameters()].map(([name]) => name);
    const peftModel = getPeftModel(model, config()).eval();
    assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-6 });
    await randomise(peftModel);
    const separate = await logitsOf(peftModel);
    assert(separate.some((v, i) => Math.abs(v - base[i]) > 0.1));
    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
    await peftModel.mergeAdapter({ safeMerge: true });
    assertAllClose(await logitsOf(peftModel), separate, { rtol: 0, atol: 2e-5 });
    peftModel.unmergeAdapter();
    assertEquals(await logitsOf(peftModel), separate);

    const merged = await peftModel.mergeAndUnload();
    assertAllClose(await logitsOf(merged), separate, { rtol: 0, atol: 2e-5 });
    assertEquals([...merged.namedParameters()].map(([name]) => name), names);
    assert(merged.lm_head.headWeight() === merged.transformer.wte.weight, "tied as before");
    const after = await bytesOf(merged);
    const row = (bytes: string, id: number) => bytes.slice(id * 192, (id + 1) * 192);
    const [was, is] = [baseBytes, after].map((bytes) => bytes.get("transformer.wte.weight")!);
    for (let id = 0; id < 257; id++) {
      assertEquals(row(was, id) !== row(is, id), TOKENS.includes(id), `row ${id}`);
    }
    merged.dispose();
  });

  Deno.test(`${label} trains its own rows in embedding and head, and unloads to the base's bytes`, async () => {
    const { model, device } = await tinyModel();
    const baseBytes = await bytesOf(model);
    const peftModel = getPeftModel(model, config()).eval();
    const trained = [...peftModel.parameters()].filter((p) => p.requiresGrad);
    const optimizer = new AdamW(trained, { lr: 1e-2 });
    const losses: number[] = [];
    for (let step = 0; step < 5; step++) {
      using output = peftModel.forward(BATCH);
      losses.push(await output.loss!.item());
      output.loss!.backward();
      optimizer.step();
      optimizer.zeroGrad();
    }
    assert(losses[4] < losses[0], `${losses}`);
    optimizer.dispose();
    peftModel.unload();
    assertEquals(await bytesOf(model), baseBytes);
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("two adapters with different tokens act together, with a common one they are refused", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new TrainableTokensConfig({ tokenIndices: [1, 5] }), "a").eval();
  await randomise(peftModel, 3);
  peftModel.addAdapter("b", new TrainableTokensConfig({ tokenIndices: [3] }));
  peftModel.addAdapter("c", new TrainableTokensConfig({ tokenIndices: [5, 9] }));
  peftModel.setAdapter("b");
  await randomise(peftModel, 4);
  peftModel.setAdapter(["a", "b"]);
  const both = await logitsOf(peftModel);
  await peftModel.mergeAdapter();
  assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 2e-5 });
  await assertRejects(
    () => peftModel.mergeAdapter({ adapterNames: ["c"] }),
    RangeError,
    'Cannot merge adapter "c": Token indices of adapter c are already defined and would result in undefined merging behavior. Only disjunct token indices are currently supported.',
  );
  peftModel.unmergeAdapter();
  peftModel.setAdapter(["a", "c"]);
  assertThrows(
    () => peftModel.forward({ inputIds: BATCH.inputIds }),
    RangeError,
    "Cannot use the adapters together: Token indices of adapter c are already defined",
  );
  peftModel.dispose();
});

Deno.test("a second adapter targets all linear layers beside trained tokens, and both go without a trace", async () => {
  const { model, device } = await tinyModel();
  const [names, baseBytes] = [[...model.namedModules()].map(([path]) => path), await bytesOf(model)];
  const live = device.memory.liveBytes;
  const peftModel = getPeftModel(model, new LoraConfig({ r: 2, trainableTokenIndices: TOKENS }), "tokens");
  peftModel.addAdapter("linear", new LoraConfig({ r: 2, targetModules: "all-linear" }));
  await warningsOf(() => peftModel.deleteAdapter("tokens"));
  peftModel.deleteAdapter("linear");
  assertEquals([...model.namedModules()].map(([path]) => path), names);
  assertEquals(await bytesOf(model), baseBytes);
  assertEquals(device.memory.liveBytes, live);
  model.dispose();
});

Deno.test("new LoraConfig() and new TrainableTokensConfig() refuse what are no token ids", () => {
  const wanted = "must be a list of different token ids from 0";
  for (const bad of [[], [-1], [1.5], [3, 3], "3", 3, [["a"]], {}, { wte: [] }, { wte: 3 }]) {
    assertThrows(
      () => new LoraConfig({ trainableTokenIndices: bad } as unknown as Partial<LoraConfigFields>),
      RangeError,
      `Cannot configure lora: trainable_token_indices ${wanted}, a table of module names to such, or null, received ${
        JSON.stringify(bad)
      }`,
    );
    assertThrows(
      () =>
        new TrainableTokensConfig({ tokenIndices: bad } as unknown as Partial<TrainableTokensConfigFields>),
      RangeError,
      `Cannot configure trainable tokens: token_indices ${wanted}, received ${JSON.stringify(bad)}`,
    );
  }
});

Deno.test("tokens that a model cannot train leave it as it was, to the byte", async () => {
  const { model, device } = await tinyModel();
  const [names, before] = [[...model.namedModules()].map(([path]) => path), await bytesOf(model)];
  const live = device.memory.liveBytes;
  const cases: [Partial<LoraConfigFields>, string][] = [
    [
      { trainableTokenIndices: [3, 257] },
      'Cannot train tokens of "transformer.wte": ids from 0 to 256 are required, received 257',
    ],
    [
      { trainableTokenIndices: { c_fc: [1] } },
      'Cannot train tokens: trainable_token_indices cannot be applied to "transformer.h.0.mlp.c_fc" (Conv1D), an embedding without other adapters is required',
    ],
    [{ trainableTokenIndices: { wet: [1] } }, 'modulesToSave entry "wet" matches no module'],
    ...[{ targetModules: ["wte"] }, { targetModules: ["lm_head"] }, { modulesToSave: ["wte"] }].map(
      (fields): [Partial<LoraConfigFields>, string] => [
        { ...fields, trainableTokenIndices: [1] },
        "Cannot train tokens: trainable_token_indices cannot be applied to a weight that targetModules or modulesToSave take too, received",
      ],
    ),
  ];
  for (const [fields, message] of cases) {
    assertThrows(() => getPeftModel(model, new LoraConfig({ r: 2, ...fields })), Error, message);
    assertEquals([...model.namedModules()].map(([path]) => path), names);
    assertEquals(device.memory.liveBytes, live);
  }
  assertEquals(await bytesOf(model), before);
  model.dispose();
});
