import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { load } from "../../io/safetensors.ts";
import { AdaLoraConfig, getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { readAdapterConfig } from "../../peft/files/adapter_files.ts";
import { AdamW, Trainer } from "../../train/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { BATCH, logitsOf, randomise, tinyModel, warningsOf, withFolder } from "./tiny_model.ts";

/** `expected.json` of `tests/oracle/adalora_fixture.py`. */
interface Expected {
  input_ids: number[][];
  labels: number[][];
  lr: number;
  weight_decay: number;
  losses: number[];
  last_loss: number;
  patterns: (Record<string, string> | null)[];
}

const FOLDER = `${FIXTURES}adalora`;

async function tensorsOf(
  folder: string,
): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  const tensors = await load(`${folder}/adapter_model.safetensors`);
  return new Map(
    [...tensors].map(([name, { shape, data }]) => [
      name,
      { shape, data: new Float32Array(data.slice().buffer) },
    ]),
  );
}

Deno.test("PeftModel.updateAndAllocate() follows peft through a whole AdaLoRA training", async () => {
  const expected: Expected = JSON.parse(await Deno.readTextFile(`${FOLDER}/expected.json`));
  const device = await ownDevice();
  const base = await loadFixture("gpt2_tiny", { device });
  base.config.nameOrPath = "gpt2_tiny";
  const model = await PeftModel.fromPretrained(base, `${FOLDER}/start`, { isTrainable: true });
  model.eval();
  const optimizer = new AdamW([...model.parameters()].filter((p) => p.requiresGrad), {
    lr: expected.lr,
    weightDecay: expected.weight_decay,
  });
  const inputs = { inputIds: expected.input_ids, labels: expected.labels };
  const lossNow = async () => {
    using output = model.forward(inputs);
    const loss = await output.loss!.item();
    output.loss!.backward();
    return loss;
  };
  for (const [step, pattern] of expected.patterns.entries()) {
    const loss = await lossNow();
    assertAllClose([loss], [expected.losses[step]], { rtol: 0, atol: 1e-5, label: `loss of step ${step}` });
    optimizer.step();
    await model.updateAndAllocate(step);
    optimizer.zeroGrad();
    const { rankPattern } = model.peftConfig.default as AdaLoraConfig;
    const shown = rankPattern &&
      Object.fromEntries(
        Object.entries(rankPattern).map(([key, mask]) => [key, mask.map(Number).join("")]),
      );
    assertEquals(shown, pattern, `what is left after step ${step}`);
  }
  await withFolder(async (folder) => {
    await model.savePretrained(folder);
    const [ours, theirs] = [await tensorsOf(folder), await tensorsOf(`${FOLDER}/final`)];
    assertEquals([...ours.keys()], [...theirs.keys()]);
    for (const [name, { shape, data }] of theirs) {
      assertEquals([...ours.get(name)!.shape], [...shape], name);
      assertAllClose(ours.get(name)!.data, data, { rtol: 1e-4, atol: 2e-5, label: name });
    }
    const configOf = async (path: string) =>
      JSON.parse(
        await Deno.readTextFile(`${path}/adapter_config.json`),
        (key, value) => key === "target_modules" ? value.sort() : value,
      );
    assertEquals(await configOf(folder), await configOf(`${FOLDER}/final`));
  });
  assertAllClose([await lossNow()], [expected.last_loss], { rtol: 0, atol: 1e-5 });
  optimizer.dispose();
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("PeftModel.fromPretrained() gives a pruned AdaLoRA adapter the rank that is left", async () => {
  const { device, model: base } = await tinyModel();
  const { losses: _, last_loss, ...expected }: Expected = JSON.parse(
    await Deno.readTextFile(`${FOLDER}/expected.json`),
  );
  const model = await PeftModel.fromPretrained(base, `${FOLDER}/final`, { isTrainable: true });
  model.eval();
  const shapes = new Map([...model.namedParameters()].map(([name, { shape }]) => [name, [...shape]]));
  for (const [key, mask] of Object.entries(expected.patterns.at(-1)!)) {
    const left = mask.replaceAll("0", "").length;
    assertEquals(shapes.get(`base_model.model.${key}.default`), [left, 1], key);
  }
  // The part of the loss that comes from the model; what is left of the vectors is scaled as before.
  const weight = (model.peftConfig.default as AdaLoraConfig).orthRegWeight;
  assertEquals(weight, 0.3);
  using output = model.forward({ inputIds: expected.input_ids, labels: expected.labels });
  assert(await output.loss!.item() < last_loss, "fewer vectors, less of the orthogonality loss");
  const before = await logitsOf(model);
  await withFolder(async (folder) => {
    await model.savePretrained(folder);
    assertEquals(await tensorsOf(folder), await tensorsOf(`${FOLDER}/final`));
  });
  await model.mergeAdapter({ safeMerge: true });
  assertAllClose(await logitsOf(model), before, { rtol: 0, atol: 2e-5 });
  output.dispose();
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("PeftModel.forward() adds AdaLoRA's orthogonality loss while its adapter acts and trains", async () => {
  const { model: base } = await tinyModel();
  const lossOf = async (model: { forward(inputs: typeof BATCH): { loss?: { item(): Promise<number> } } }) =>
    await model.forward(BATCH).loss!.item();
  const plain = await lossOf(base);
  const config = new AdaLoraConfig({ initR: 2, targetR: 1, totalStep: 10, orthRegWeight: 0.5 });
  const model = getPeftModel(base, config);
  // A and B are nearly 0 at the start: every |P P^T - I| is nearly |I| = sqrt(2).
  assertAllClose([await lossOf(model) - plain], [0.5 * Math.SQRT2], { rtol: 0, atol: 0.05 });
  assertEquals(await model.disableAdapter(() => lossOf(model)), plain);
  const rows = BATCH.inputIds.map((inputIds) => ({ inputIds }));
  const labels = BATCH.inputIds;
  const alone = await lossOf({ forward: () => base.forward({ inputIds: labels, labels }) });
  const trainer = new Trainer({ model, evalDataset: rows, args: { perDeviceEvalBatchSize: rows.length } });
  const { evalLoss } = await trainer.evaluate();
  const regularised = await lossOf({ forward: () => model.forward({ inputIds: labels, labels }) });
  assertAllClose([evalLoss], [alone], { rtol: 0, atol: 1e-5 });
  assert(regularised > alone + 0.5, "forward has it in eval mode too, as peft has");
  await withFolder(async (folder) => {
    await model.savePretrained(folder);
    const frozen = await PeftModel.fromPretrained((await tinyModel()).model, folder);
    assertEquals(await lossOf(frozen), plain, "E is 0, and a frozen adapter adds nothing (in peft it fails)");
    frozen.dispose();
  });
  model.dispose();
});

Deno.test("AdaLoraConfig refuses schedules that cannot work", () => {
  const refused = (fields: ConstructorParameters<typeof AdaLoraConfig>[0], message: string) =>
    assertThrows(() => new AdaLoraConfig({ totalStep: 10, ...fields }), RangeError, message);
  refused({ totalStep: null }, "AdaLoRA does not work when `total_step` is None, supply a value > 0.");
  refused({ totalStep: 0 }, "AdaLoRA does not work when `total_step` is None, supply a value > 0.");
  refused({ tinit: 5, tfinal: 5 }, "The supplied schedule values don't allow for a budgeting phase.");
  refused(
    { orthRegWeight: -1 },
    "`orth_reg_weight` should be greater than or equal to 0, but the value passed is -1",
  );
  refused({ beta1: 1 }, "beta1 must be a number above 0 and below 1, received 1");
  refused({ deltaT: 0 }, "deltaT must be an integer of at least 1, received 0");
  refused({ initR: 0 }, "`init_r` should be a positive integer value but the value passed is 0");
  refused({ bias: "some" as "all" }, 'bias must be "none", "all" or "lora_only", received "some"');
  refused({ rankPattern: { a: [true] } }, 'rank_pattern of "a" must be 12 (init_r) times true or false');
  refused({ layersPattern: "h" }, "`layers_to_transform` must also be specified");
  refused(
    { targetModules: "c_attn", layersToTransform: 1 },
    "`layers_to_transform` cannot be used when `target_modules` is a str.",
  );
  assertThrows(() => AdaLoraConfig.fromJSON({ total_step: 3, use_dora: true }), RangeError, "use_dora");
});

Deno.test("PeftModel.updateAndAllocate() says what it lacks", async () => {
  const { model: base } = await tinyModel();
  const config = new AdaLoraConfig({ initR: 2, targetR: 1, totalStep: 5 });
  const model = getPeftModel(base, config);
  await assertRejects(() => model.updateAndAllocate(1), RangeError, "gradients are required, call");
  await assertRejects(() => model.updateAndAllocate(5), RangeError, "is required after every step");
  assertThrows(
    () => model.addAdapter("other", config),
    RangeError,
    'Cannot add adapter "other": AdaLoraModel supports only 1 trainable adapter.',
  );
  assertEquals(Object.keys(model.peftConfig), ["default"]);
  model.unload();
  const lora = getPeftModel(base, new LoraConfig());
  await assertRejects(
    () => lora.updateAndAllocate(1),
    RangeError,
    "an AdaLoRA adapter that trains is required",
  );
  lora.dispose();
});

Deno.test("PeftModel with an AdaLoRA layer of rank 0 trains, saves and loads it", async () => {
  const { device, model: base } = await tinyModel();
  const rankPattern = { "transformer.h.0.attn.c_attn.lora_E": [false, false] };
  const config = new AdaLoraConfig({ initR: 2, targetR: 1, totalStep: 5, rankPattern });
  const model = getPeftModel(base, config);
  await randomise(model);
  const optimizer = new AdamW([...model.parameters()].filter((p) => p.requiresGrad), { lr: 0.01 });
  using output = model.forward(BATCH);
  output.loss!.backward();
  optimizer.step();
  await model.updateAndAllocate(1);
  optimizer.zeroGrad();
  optimizer.dispose();
  model.eval();
  const logits = await logitsOf(model);
  await withFolder(async (folder) => {
    await model.savePretrained(folder);
    const { rankPattern } = await readAdapterConfig(folder) as AdaLoraConfig;
    assertEquals(rankPattern!["transformer.h.0.attn.c_attn.lora_E"], [false, false]);
    const again = await PeftModel.fromPretrained((await tinyModel()).model, folder);
    assertAllClose(await logitsOf(again), logits, { rtol: 0, atol: 2e-6 });
    again.dispose();
  });
  output.dispose();
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("AdaLoraConfig warns of the rank it does not use", async () => {
  const warnings = await warningsOf(() => new AdaLoraConfig({ r: 4, totalStep: 3 }));
  assertEquals(warnings, [
    "`r` is not used in AdaLora and will be ignored. Use `initR` for the initial rank.",
  ]);
});

Deno.test("Trainer's onOptimizerStep is the moment for updateAndAllocate()", async () => {
  const steps = 8;
  const config = () =>
    new AdaLoraConfig({
      initR: 3,
      targetR: 1,
      tinit: 1,
      tfinal: 1,
      totalStep: steps - 1,
      initLoraWeights: false,
    });
  const inputIds = BATCH.inputIds;
  const wanted = getPeftModel((await tinyModel()).model, config());
  const optimizer = new AdamW([...wanted.parameters()].filter((p) => p.requiresGrad), {
    lr: 1e-2,
    weightDecay: 0,
  });
  for (let step = 0; step < steps; step++) {
    using output = wanted.forward({ inputIds, labels: inputIds });
    output.loss!.backward();
    optimizer.step();
    await wanted.updateAndAllocate(step);
    optimizer.zeroGrad();
  }
  optimizer.dispose();

  const model = getPeftModel((await tinyModel()).model, config());
  const seen: number[] = [];
  const trainer = new Trainer({
    model,
    args: {
      maxSteps: steps,
      perDeviceTrainBatchSize: 2,
      learningRate: 1e-2,
      lrSchedulerType: "constant",
      maxGradNorm: 0,
    },
    trainDataset: inputIds.map((row) => ({ inputIds: row })),
    callbacks: [{
      onOptimizerStep: (_args, { globalStep }) => {
        seen.push(globalStep);
        return model.updateAndAllocate(globalStep);
      },
    }],
  });
  await trainer.train();
  assertEquals(seen, Array.from({ length: steps }, (_, step) => step));
  const patternOf = (model: PeftModel) => (model.peftConfig.default as AdaLoraConfig).rankPattern!;
  assertEquals(patternOf(model), patternOf(wanted));
  const left = Object.values(patternOf(model)).flat().filter((left) => left).length;
  assertEquals(left, 3, "one a layer on average");
  assert(Object.values(patternOf(model)).some((mask) => mask.every((left) => !left)), "a layer lost all");
  const logits = await logitsOf(model.eval());
  await withFolder(async (folder) => {
    const live = model.getBaseModel().device.memory.liveBytes;
    await model.savePretrained(folder);
    assertEquals(model.getBaseModel().device.memory.liveBytes, live);
    const again = await PeftModel.fromPretrained((await tinyModel()).model, folder);
    assertAllClose(await logitsOf(again), logits, { rtol: 0, atol: 1e-5 });
    again.dispose();
  });
  model.dispose();
  wanted.dispose();
});
