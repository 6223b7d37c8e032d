import { assert, assertAllClose, assertEquals, assertNotEquals, assertThrows, relativeL2 } from "@std/assert";
import { noGrad, RandomState, tidy, transpose, untracked } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import { Conv1D, Linear, Parameter } from "../../nn/mod.ts";
import {
  AdaLoraConfig,
  AdaptedLinear,
  BOFTConfig,
  FourierFTConfig,
  getPeftModel,
  IA3Config,
  LoHaConfig,
  LoKrConfig,
  LoraConfig,
  LoraLayer,
  OFTConfig,
  type PeftConfig,
  PeftModel,
  VeraConfig,
} from "../../peft/mod.ts";
import { sharedPartOf } from "../../peft/layers/tuner_layer.ts";
import { VeraProjections } from "../../peft/methods/vera.ts";
import { dropFactors } from "../../peft/methods/weight_change.ts";
import { expectedOf, FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { BATCH, bytesOf, logitsOf, randomise, tinyModel, warningsOf } from "./tiny_model.ts";

/** A configuration of each method of `AdaptedLinear` that starts as the identity. */
const configs: Record<string, () => PeftConfig> = {
  lora: () => new LoraConfig({ r: 2, targetModules: "all-linear" }),
  "lora with biases": () => new LoraConfig({ r: 2, loraBias: true, targetModules: "all-linear" }),
  ia3: () => new IA3Config(),
  adalora: () => new AdaLoraConfig({ initR: 3, targetR: 2, totalStep: 9, inferenceMode: true }),
  vera: () => new VeraConfig({ r: 5, targetModules: "all-linear" }),
  "vera by default": () => new VeraConfig(),
  loha: () => new LoHaConfig({ r: 2, targetModules: "all-linear" }),
  "loha of a high rank": () => new LoHaConfig({ r: 8, initWeights: true }),
  lokr: () => new LoKrConfig({ r: 2, decomposeBoth: true, targetModules: "all-linear" }),
  "lokr like lycoris": () => new LoKrConfig({ r: 30, initWeights: "lycoris" }),
  oft: () => new OFTConfig({ oftBlockSize: 8, targetModules: "all-linear" }),
  "oft exactly": () => new OFTConfig({ r: 3, oftBlockSize: 0, useCayleyNeumann: false, blockShare: true }),
  boft: () => new BOFTConfig({ boftNButterflyFactor: 2, targetModules: "all-linear" }),
  "fourierft by default": () => new FourierFTConfig({ initWeights: true }),
};

for (const [name, makeConfig] of Object.entries(configs)) {
  Deno.test(`PeftModel with ${name} starts as the base, merges to the same, and leaves the base bit for bit`, async () => {
    const { device, model } = await tinyModel();
    const [base, baseBytes] = [await logitsOf(model), await bytesOf(model)];
    const peftModel = getPeftModel(model, makeConfig());
    peftModel.eval();
    assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-5, label: "fresh" });
    await randomise(peftModel, 1);
    const logits = await logitsOf(peftModel);
    assertNotEquals(logits, base);

    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
    await peftModel.mergeAdapter({ safeMerge: true });
    assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 1e-5, label: "merged" });
    assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base, "disabled while merged");
    peftModel.unmergeAdapter();
    assertEquals(await logitsOf(peftModel), logits);

    peftModel.addAdapter("other", makeConfig(), { seed: 5 });
    assertEquals(await logitsOf(peftModel), logits, "an adapter that is not active changes nothing");
    peftModel.setAdapter("other");
    await randomise(peftModel, 2);
    peftModel.setAdapter(["default", "other"]);
    const both = await logitsOf(peftModel);
    assertNotEquals(both, logits);
    await peftModel.mergeAdapter();
    assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 2e-5, label: "both merged" });
    peftModel.unmergeAdapter();
    await peftModel.mergeAdapter({ adapterNames: ["default"] });
    assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 2e-5, label: "one merged, one not" });
    peftModel.unmergeAdapter();
    await warningsOf(() => peftModel.deleteAdapter("other"));
    assertEquals(peftModel.activeAdapters, ["default"]);
    assertEquals(await logitsOf(peftModel), logits);

    const unloaded = peftModel.unload();
    assertEquals(await bytesOf(unloaded), baseBytes);
    unloaded.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });

  Deno.test(`PeftModel with ${name} trains on a float16 base, and only its own parameters`, async () => {
    const { model } = await tinyModel("float16");
    const before = await bytesOf(model);
    const peftModel = getPeftModel(model, makeConfig());
    await randomise(peftModel, 1);
    using output = peftModel.forward(BATCH);
    output.loss!.backward();
    const trained = [...peftModel.namedParameters()].filter(([, p]) => p.requiresGrad);
    assert(trained.length > 0);
    for (const [name, parameter] of trained) {
      const grad = await parameter.grad!.data() as Float32Array;
      assert(grad.every(Number.isFinite) && grad.some((g) => g !== 0), name);
    }
    const logits = await logitsOf(peftModel.eval());
    await peftModel.mergeAdapter();
    assertAllClose(await logitsOf(peftModel), logits, {
      rtol: 0,
      atol: 0.1,
      label: "merged into half precision",
    });
    assertEquals(await bytesOf(peftModel.unload()), before);
    model.dispose();
  });
}

/** The same model with a Linear of the transposed weight for each Conv1D. */
function withLinears(model: GPT2LMHeadModel): GPT2LMHeadModel {
  for (const [path, module] of [...model.namedModules()]) {
    if (!(module instanceof Conv1D)) continue;
    const weight = new Parameter(untracked(() => noGrad(() => transpose(module.weight))));
    module.weight.dispose();
    model.setSubmodule(path, new Linear(weight, module.bias));
  }
  return model;
}

for (
  const name of [
    "adalora_some",
    "vera_drawn",
    "fourierft_some",
    "loha_patterns",
    "lokr",
    "oft",
    "boft_butterfly",
  ]
) {
  Deno.test(`PeftModel with ${name} computes the same on Linear as on Conv1D`, async () => {
    const expected = await expectedOf<{ input_ids: number[][] }>(`methods/${name}`);
    const model = withLinears(await loadFixture("gpt2_tiny", { device: await ownDevice() }));
    const peftModel = await PeftModel.fromPretrained(model, `${FIXTURES}methods/${name}`);
    const logitsNow = async () => {
      using output = noGrad(() => peftModel.forward({ inputIds: expected.json.input_ids }));
      return await output.logits.data();
    };
    const logits = expected.tensor("logits");
    assertAllClose(await logitsNow(), logits, { rtol: 0, atol: 2e-5, label: "logits" });
    await peftModel.mergeAdapter();
    assertAllClose(await logitsNow(), logits, { rtol: 0, atol: 2e-5, label: "merged logits" });
    peftModel.dispose();
  });
}

Deno.test("VeraConfig with other projections than those of the adapters present is refused", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new VeraConfig({ r: 4 }));
  assertThrows(
    () => peftModel.addAdapter("b", new VeraConfig({ r: 4, projectionPrngKey: 1 })),
    RangeError,
    'Cannot add adapter "b": Vera PRNG initialisation key must be the same for all adapters. Got config.projection_prng_key=1 but previous config had 0.',
  );
  assertThrows(
    () => peftModel.addAdapter("b", new VeraConfig({ r: 4, saveProjection: false })),
    RangeError,
    "VeRA projection weights must be saved for all adapters or none",
  );
  assertEquals(Object.keys(peftModel.peftConfig), ["default"]);
  peftModel.dispose();
});

Deno.test("sharedPartOf() refuses a shared part of another class", () => {
  assertThrows(
    () => sharedPartOf({}, VeraProjections),
    TypeError,
    "Cannot make an adapter: a shared part of class VeraProjections is required, received none",
  );
});

Deno.test("dropFactors() drops output features and whole layers", async () => {
  const device = await ownDevice();
  const random = new RandomState(device, 3);
  const outputs = 200;
  for (const rankScale of [false, true]) {
    using factors = tidy(() => dropFactors(outputs, { rank: 0.25, rankScale, module: 0, random }))!;
    const data = await factors.data() as Float32Array<ArrayBuffer>;
    const kept = data.filter((v) => v !== 0);
    assert(kept.length > 120 && kept.length < 180, `${kept.length} of 200 are kept`);
    const value = rankScale ? outputs / kept.length : 1;
    assertAllClose(kept, kept.map(() => value), { rtol: 1e-6, atol: 0 });
  }
  const seen: number[] = [];
  for (let i = 0; i < 40; i++) {
    using factors = tidy(() => dropFactors(outputs, { rank: 0, rankScale: false, module: 0.5, random }))!;
    assertEquals([...factors.shape], [1]);
    seen.push(await factors.item());
  }
  assertEquals([...new Set(seen)].sort(), [0, 1], "all or nothing, both happen");
  using both = tidy(() => dropFactors(outputs, { rank: 0.5, rankScale: false, module: 1, random }))!;
  assertEquals([...await both.data()], new Array(outputs).fill(0));
  assertEquals(dropFactors(outputs, { rank: 0, rankScale: true, module: 0, random }), null);
  random.dispose();
});

Deno.test("LoHa, LoKr, AdaLoRA and VeRA drop out while training alone", async () => {
  const dropping: PeftConfig[] = [
    new LoHaConfig({ r: 2, rankDropout: 0.5, initWeights: false }),
    new LoHaConfig({ r: 8, rankDropout: 0.5, moduleDropout: 0.1, initWeights: false }),
    new LoKrConfig({ r: 2, moduleDropout: 1, initWeights: false }),
    new AdaLoraConfig({ initR: 2, totalStep: 5, loraDropout: 0.5, initLoraWeights: false }),
    new VeraConfig({ r: 4, veraDropout: 0.5, initWeights: false }),
  ];
  for (const config of dropping) {
    const { model } = await tinyModel();
    const base = await logitsOf(model);
    const peftModel = getPeftModel(model, config);
    const training = await logitsOf(peftModel);
    const evaluated = await logitsOf(peftModel.eval());
    assertNotEquals(training, evaluated, config.peftType);
    assertEquals(await logitsOf(peftModel), evaluated, config.peftType);
    if (config.peftType === "LOKR") assertAllClose(training, base, { rtol: 0, atol: 1e-5 });
    peftModel.dispose();
  }
});

Deno.test("FourierFT gives many rows, for which it makes the change first, what it gives few", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new FourierFTConfig({ nFrequency: 80, targetModules: "all-linear" }));
  const repeated = (times: number) => ({
    inputIds: Array.from({ length: times }, () => BATCH.inputIds).flat(),
    labels: Array.from({ length: times }, () => BATCH.labels).flat(),
  });
  const results: { loss: number; gradients: Map<string, Float32Array> }[] = [];
  for (const times of [1, 6]) { // 16 and 96 rows; the change comes first from 24 to 39 rows on, by layer
    using output = peftModel.forward(repeated(times));
    const loss = await output.loss!.item();
    output.loss!.backward();
    const gradients = new Map<string, Float32Array>();
    for (const [name, parameter] of peftModel.namedParameters()) {
      if (!parameter.grad) continue;
      gradients.set(name, await parameter.grad.data() as Float32Array);
      parameter.grad.dispose();
      parameter.grad = null;
    }
    results.push({ loss, gradients });
  }
  const [few, many] = results;
  assertAllClose([many.loss], [few.loss], { rtol: 0, atol: 2e-6 });
  assertEquals(few.gradients.size, 12);
  for (const [name, gradient] of few.gradients) {
    assert(relativeL2(many.gradients.get(name)!, gradient) < 1e-5, name);
  }
  peftModel.dispose();
});

Deno.test("two (IA)^3 adapters may scale different sides of one layer, and merge to what they compute", async () => {
  const { model } = await tinyModel();
  const targets = { targetModules: ["c_fc"] };
  const peftModel = getPeftModel(
    model,
    new IA3Config({ ...targets, feedforwardModules: ["c_fc"] }),
    "inputs",
  );
  await randomise(peftModel, 3);
  const first = await logitsOf(peftModel);
  peftModel.addAdapter("outputs", new IA3Config({ ...targets, feedforwardModules: [] }));
  peftModel.setAdapter("outputs");
  await randomise(peftModel, 7);
  peftModel.setAdapter(["inputs", "outputs"]);
  peftModel.eval();
  const before = await bytesOf(model);
  const logits = await logitsOf(peftModel);
  assert(logits.some((value, i) => Math.abs(value - first[i]) > 1e-4), "both act");
  await peftModel.mergeAdapter();
  assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 1e-5 });
  peftModel.unmergeAdapter();
  assertEquals(await bytesOf(model), before);
  peftModel.dispose();
});

Deno.test("a linear layer is an instance of LoraLayer while it holds LoRA", async () => {
  for (const [config, expected] of [[new LoraConfig({ r: 2 }), true], [new IA3Config(), false]] as const) {
    const { model } = await tinyModel();
    const peftModel = getPeftModel(model, config);
    const layer: unknown = model.transformer.h[0].attn.c_attn;
    assert(layer instanceof AdaptedLinear);
    assertEquals(layer instanceof LoraLayer, expected);
    assert(!(model.transformer.h[0].mlp.c_fc instanceof LoraLayer));
    peftModel.dispose();
  }
});
