/**
 * Calls that overlap: each sees its own adapters and modes, and nothing is left behind.
 * @module
 */
import { assert, assertAllClose, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { captureStep, noGrad, setSeed, type Tensor, tidy } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import {
  getPeftModel,
  getPeftModelStateDict,
  LoraConfig,
  type PeftModel,
  PromptEncoderConfig,
  PromptTuningConfig,
  rescaleAdapterScale,
} from "../../peft/mod.ts";
import { inEvalMode } from "../../nn/mod.ts";
import { AdamW, Trainer, TrainingArguments } from "../../train/mod.ts";
import { acting, BATCH, bytesOf, logitsOf, randomise, tinyModel, trainedNames } from "./tiny_model.ts";

const IDS = [[5, 17, 200, 3], [1, 2, 3, 5]];
const OPTIONS = { maxNewTokens: 8, eosTokenId: null };

type Model = PeftModel<GPT2LMHeadModel>;

/** Two adapters with values of their own, "default" active. */
async function two(): Promise<{ peftModel: Model; base: Float32Array; logits: Float32Array }> {
  const { peftModel, base, logits } = await acting();
  peftModel.addAdapter("b", new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
  peftModel.setAdapter("b");
  await randomise(peftModel, 5);
  peftModel.setAdapter("default");
  return { peftModel, base, logits };
}

/** A promise that something else resolves. */
function gate(): { open: () => void; opened: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { open: resolve, opened: promise };
}

/** A few steps with dropout from the same start; the weights afterwards. */
async function trained(beside: (model: Model) => Promise<unknown>): Promise<Map<string, string>> {
  const { model } = await tinyModel();
  const config = new LoraConfig({ r: 4, loraDropout: 0.3 });
  const peftModel = getPeftModel(model, config, "default", { seed: 3 });
  const optimizer = new AdamW([...peftModel.parameters()].filter((p) => p.requiresGrad), { lr: 1e-2 });
  const other = beside(peftModel);
  for (let i = 0; i < 4; i++) {
    using loss = tidy(() => {
      const { loss } = peftModel.forward(BATCH);
      loss!.backward();
      return loss!;
    });
    optimizer.step();
    optimizer.zeroGrad();
    await loss.item();
  }
  await other;
  const bytes = await bytesOf(peftModel);
  assert(peftModel.training && [...peftModel.namedModules()].every(([, module]) => module.training));
  optimizer.dispose();
  peftModel.dispose();
  return bytes;
}

Deno.test("training while generating gives the same weights as training alone, bit for bit", async () => {
  setSeed(1);
  const alone = await trained(() => Promise.resolve());
  setSeed(1);
  assertEquals(await trained((model) => model.generate(IDS, OPTIONS)), alone);
  setSeed(1);
  const beams = { ...OPTIONS, maxNewTokens: 4, numBeams: 2 };
  assertEquals(await trained((model) => model.generate(IDS, beams)), alone);
});

Deno.test("generations side by side leave the model in the mode it was in, each module its own", async () => {
  const { peftModel } = await two();
  peftModel.train();
  peftModel.getBaseModel().transformer.h[1].eval();
  const modes = () => [...peftModel.namedModules()].map(([, { training }]) => training);
  const before = modes();
  const [first, second] = [peftModel.generate(IDS, OPTIONS), peftModel.generate(IDS, OPTIONS)];
  assertEquals(modes(), before, "also while they run");
  assertEquals(await first, await second);
  assertEquals(modes(), before);
  peftModel.dispose();
});

Deno.test("generations side by side give what each adapter gives alone: plain, by rows, switched off, rescaled", async () => {
  const { peftModel } = await two();
  peftModel.setScale("default", 2);
  const calls: Record<string, () => Promise<number[][]>> = {
    plain: () => peftModel.generate(IDS, OPTIONS),
    rows: () => peftModel.generate(IDS, { ...OPTIONS, adapterNames: ["b", "__base__"] }),
    "other rows": () => peftModel.generate(IDS, { ...OPTIONS, adapterNames: ["default", "b"] }),
    "another adapter": () => {
      peftModel.setAdapter("b");
      const tokens = peftModel.generate(IDS, OPTIONS);
      peftModel.setAdapter("default");
      return tokens;
    },
    off: () => peftModel.disableAdapter(() => peftModel.generate(IDS, OPTIONS)),
    rescaled: () => rescaleAdapterScale(peftModel, -3, () => peftModel.generate(IDS, OPTIONS)),
    beams: () => peftModel.generate(IDS, { ...OPTIONS, numBeams: 2, adapterNames: ["b", "default"] }),
    uncached: () => peftModel.generate(IDS, { ...OPTIONS, useCache: false }),
  };
  const alone: Record<string, number[][]> = {};
  for (const [name, call] of Object.entries(calls)) alone[name] = await call();
  assertNotEquals(alone.plain, alone.rows);
  assertNotEquals(alone.plain, alone["another adapter"]);
  assertNotEquals(alone.plain, alone.rescaled);
  // Scopes are ended by hand here: a call that begins while one is open belongs to it.
  const order = ["plain", "rows", "other rows", "another adapter", "beams", "uncached"];
  const running = order.map((name) => calls[name]());
  for (const name of ["off", "rescaled"]) assertEquals(await calls[name](), alone[name], name);
  for (const [i, name] of order.entries()) assertEquals(await running[i], alone[name], name);
  peftModel.dispose();
});

Deno.test("a generation goes on with the adapters it began with, and fails where one of them is deleted", async () => {
  const { peftModel } = await two();
  const alone = await peftModel.generate(IDS, OPTIONS);
  const running = peftModel.generate(IDS, OPTIONS);
  peftModel.setAdapter("b");
  peftModel.disableAdapterLayers();
  assertEquals(await running, alone);
  peftModel.enableAdapterLayers();
  const broken = peftModel.generate(IDS, { ...OPTIONS, useCache: false });
  peftModel.deleteAdapter("b");
  await assertRejects(() => broken, RangeError, 'adapter "b" was deleted or renamed in the meantime');
  peftModel.dispose();
});

Deno.test("disableAdapter() calls that overlap: off until all have ended, then as before", async () => {
  const { peftModel, base, logits } = await two();
  const names = trainedNames(peftModel);
  const gates = [gate(), gate(), gate()];
  const running = gates.map(({ opened }, i) =>
    peftModel.disableAdapter(async () => {
      await opened;
      if (i === 1) throw new RangeError("stop");
    })
  );
  running[1].catch(() => {});
  for (const i of [0, 2, 1]) {
    assertEquals(await logitsOf(peftModel), base);
    assertEquals(trainedNames(peftModel), []);
    gates[i].open();
    await running[i].catch(() => {});
  }
  assertEquals(await logitsOf(peftModel), logits);
  assertEquals(trainedNames(peftModel), names);
  peftModel.dispose();
});

Deno.test("disableAdapter() calls that overlap leave merged adapters merged, unless others were set meanwhile", async () => {
  const { peftModel, base, logits } = await two();
  await peftModel.mergeAdapter();
  const merged = await logitsOf(peftModel);
  const [one, other] = [gate(), gate()];
  const running = [one, other].map(({ opened }) => peftModel.disableAdapter(() => opened));
  one.open();
  await running[0];
  assertEquals(await logitsOf(peftModel), base);
  other.open();
  await running[1];
  assertEquals(await logitsOf(peftModel), merged);
  await peftModel.disableAdapter(() => Promise.resolve(peftModel.setAdapter("b")));
  assertEquals(peftModel.getModelStatus().mergedAdapters, []);
  peftModel.setAdapter("default");
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.dispose();
});

Deno.test("rescaleAdapterScale() calls that overlap multiply, and the scalings are bit for bit as before afterwards", async () => {
  const { peftModel, logits } = await two();
  const product = await rescaleAdapterScale(
    peftModel,
    0.3,
    () => rescaleAdapterScale(peftModel, 0.7, () => logitsOf(peftModel)),
  );
  const [one, other] = [gate(), gate()];
  const running = [
    rescaleAdapterScale(peftModel, 0.3, () => one.opened),
    rescaleAdapterScale(peftModel, 0.7, () => other.opened),
  ];
  assertEquals(await logitsOf(peftModel), product);
  one.open();
  await running[0];
  const half = await logitsOf(peftModel);
  assertNotEquals(half, product);
  other.open();
  await running[1];
  assertEquals(await logitsOf(peftModel), logits);
  assertEquals(await rescaleAdapterScale(peftModel, 0.7, () => logitsOf(peftModel)), half);
  peftModel.dispose();
});

Deno.test("what is set while adapters are off acts and trains once they are on again", async () => {
  const { peftModel, base } = await two();
  peftModel.setAdapter("b");
  const [second, trainsSecond] = [await logitsOf(peftModel), trainedNames(peftModel)];
  peftModel.setAdapter("default");
  peftModel.disableAdapterLayers();
  peftModel.setAdapter("b");
  assertEquals(await logitsOf(peftModel), base);
  assertEquals(trainedNames(peftModel), []);
  peftModel.enableAdapterLayers();
  assertEquals(await logitsOf(peftModel), second);
  assertEquals(trainedNames(peftModel), trainsSecond);
  peftModel.disableAdapterLayers();
  peftModel.setRequiresGrad(["b"], false);
  peftModel.addAdapter("c", new LoraConfig({ r: 2 }));
  peftModel.setRequiresGrad("c", true);
  peftModel.enableAdapterLayers();
  assert(trainedNames(peftModel).length > 0);
  assert(trainedNames(peftModel).every((name) => /\.c\./.test(name)));
  peftModel.disableAdapterLayers();
  peftModel.deleteAdapter("b");
  assertEquals(await logitsOf(peftModel), base);
  peftModel.enableAdapterLayers();
  assertEquals(peftModel.activeAdapters, ["default"]);
  peftModel.dispose();
});

Deno.test("virtual tokens that are set while adapters are off act and train once they are on again", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new PromptTuningConfig({ numVirtualTokens: 2 })).eval();
  peftModel.addAdapter("b", new PromptTuningConfig({ numVirtualTokens: 3 }), { seed: 4 });
  peftModel.disableAdapterLayers();
  peftModel.setAdapter("b");
  assertEquals(trainedNames(peftModel), []);
  peftModel.enableAdapterLayers();
  assertEquals(trainedNames(peftModel), ["prompt_encoder.b.embedding.weight"]);
  peftModel.dispose();
});

Deno.test("mergeAdapter() while adapters are off is refused and changes nothing; mergeAndUnload() merges", async () => {
  const { peftModel, base, logits } = await two();
  peftModel.disableAdapterLayers();
  await assertRejects(() => peftModel.mergeAdapter(), RangeError, "call enableAdapterLayers() first");
  assertEquals(await logitsOf(peftModel), base);
  const { open, opened } = gate();
  const running = peftModel.disableAdapter(() => opened);
  await assertRejects(
    () => peftModel.mergeAndUnload(),
    RangeError,
    "merge after disableAdapter() has ended",
  );
  open();
  await running;
  assertEquals(await logitsOf(peftModel), base, "still switched off");
  const plain = await peftModel.mergeAndUnload();
  assertAllClose(await logitsOf(plain), logits, { rtol: 0, atol: 1e-5 });
  plain.dispose();
});

Deno.test("a captured step follows what is set for a call: scalings, the mode, adapters that are off", async () => {
  const { device, model } = await tinyModel();
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraDropout: 0.5 })).eval();
  await randomise(peftModel);
  const step = captureStep(
    device,
    () => tidy(() => noGrad(() => peftModel.forward({ inputIds: BATCH.inputIds }).logits as Tensor)),
  );
  const check = async (label: string) => {
    for (let i = 0; i < 3; i++) assertEquals(await (await step({})).data(), await logitsOf(peftModel), label);
  };
  await check("plain");
  await rescaleAdapterScale(peftModel, 0.5, () => check("rescaled"));
  await peftModel.disableAdapter(() => check("off"));
  await check("as before");
  const logits = await logitsOf(peftModel);
  peftModel.train();
  assertNotEquals(await (await step({})).data(), logits);
  assertEquals(await (await inEvalMode(() => step({}))).data(), logits);
  peftModel.dispose();
});

Deno.test("evaluating while training runs leaves each module in its mode, also meanwhile", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraDropout: 0.5 }));
  peftModel.getBaseModel().transformer.h[0].eval();
  const modes = () => [...peftModel.namedModules()].map(([, { training }]) => training);
  const before = modes();
  const args = new TrainingArguments({ outputDir: "unused", perDeviceEvalBatchSize: 1 });
  const rows = BATCH.inputIds.map((inputIds) => ({ inputIds, labels: inputIds }));
  const trainer = new Trainer({ model: peftModel, args, evalDataset: rows });
  const running = trainer.evaluate();
  assertEquals(modes(), before, "meanwhile");
  const first = await running;
  assertEquals(modes(), before);
  peftModel.eval();
  assertEquals((await trainer.evaluate()).evalLoss, first.evalLoss);
  peftModel.dispose();
});

Deno.test("virtual tokens that are generated with or saved while training are those of eval mode", async () => {
  const { model } = await tinyModel();
  const config = new PromptEncoderConfig({
    numVirtualTokens: 3,
    encoderHiddenSize: 8,
    encoderReparameterizationType: "LSTM",
    encoderDropout: 0.5,
  });
  const peftModel = getPeftModel(model, config);
  await randomise(peftModel, 3);
  const read = async () => {
    const values: [string, number[]][] = [];
    for (const [name, tensor] of getPeftModelStateDict(peftModel)) {
      values.push([name, [...await tensor.data()]]);
    }
    return values;
  };
  const [tokens, saved] = [await peftModel.eval().generate(IDS, OPTIONS), await read()];
  const before = await logitsOf(peftModel);
  peftModel.train();
  assertNotEquals(await logitsOf(peftModel), before);
  assertEquals(await peftModel.generate(IDS, OPTIONS), tokens);
  assertEquals(await read(), saved);
  peftModel.dispose();
});
