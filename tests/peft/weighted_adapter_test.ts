import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { HostRandom, noGrad } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import {
  type CombinationType,
  getPeftModel,
  IA3Config,
  LNTuningConfig,
  LoraConfig,
  type LoraConfigFields,
  type LoraLayer,
  PeftModel,
  PrefixTuningConfig,
  type WeightedAdapterOptions,
} from "../../peft/mod.ts";
import { lowRankLayers } from "../../peft/lora/low_rank.ts";
import { combineTensors } from "../../peft/operations/combine.ts";
import { expectedOf, FIXTURES, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { acting, bytesOf, logitsOf, randomise, tinyModel, trainedNames, warningsOf } from "./tiny_model.ts";

interface Json {
  input_ids: number[][];
  weighted: Record<
    string,
    {
      adapters: string[];
      weights: number[];
      options: {
        combination_type?: CombinationType;
        density?: number;
        svd_rank?: number;
        majority_sign_method?: "frequency";
      };
    }
  >;
  mixed: string[][];
}

const fixture = await expectedOf<Json>("adapters");

/** Adapters of the fixture, the first one active. */
async function loadAdapters(names: readonly string[]): Promise<PeftModel<GPT2LMHeadModel>> {
  const device = await ownDevice();
  const folder = `${FIXTURES}adapters`;
  const base = await loadFixture("gpt2_tiny", { device });
  const model = await PeftModel.fromPretrained(base, `${folder}/${names[0]}`, { adapterName: names[0] });
  for (const name of names.slice(1)) await model.loadAdapter(`${folder}/${name}`, name);
  return model;
}

/** Logits of the last two positions, as the fixture has them. */
async function lastLogits(model: PeftModel<GPT2LMHeadModel>, adapterNames?: string[]): Promise<number[]> {
  const { input_ids: inputIds } = fixture.json;
  using output = noGrad(() => model.forward({ inputIds, adapterNames }));
  const logits = await output.logits.data() as Float32Array;
  const [T, V] = [inputIds[0].length, 257];
  return inputIds.flatMap((_, row) => [...logits.subarray((row * T + T - 2) * V, (row + 1) * T * V)]);
}

for (const [name, { adapters, weights, options }] of Object.entries(fixture.json.weighted)) {
  Deno.test(`addWeightedAdapter() of case ${name} has peft's logits`, async () => {
    const model = await loadAdapters(adapters);
    const { device } = model.getBaseModel();
    const before = await bytesOf(model);
    const given: WeightedAdapterOptions = Object.fromEntries(
      Object.entries({
        combinationType: options.combination_type,
        density: options.density,
        svdRank: options.svd_rank,
        majoritySignMethod: options.majority_sign_method,
      }).filter(([, value]) => value !== undefined),
    );
    await warningsOf(() => model.addWeightedAdapter(adapters, weights, "made", given));
    assertEquals([model.activeAdapters, trainedNames(model)], [[adapters[0]], []], "neither acts nor trains");
    for (const [path, bytes] of await bytesOf(model)) {
      if (!path.includes("made")) {
        assertEquals(bytes, before.get(path), "base and other adapters keep every byte");
      }
    }
    model.setAdapter("made");
    assertAllClose(await lastLogits(model), fixture.tensor(`${name}.logits`), { rtol: 0, atol: 2e-5 });
    if (fixture.names.includes(`${name}.A`)) {
      const layer = model.getBaseModel().transformer.h[1].attn.c_attn as unknown as LoraLayer;
      for (const [key, part] of [["A", layer.lora_A], ["B", layer.lora_B]] as const) {
        assertAllClose(await part.get("made")!.weight.data(), fixture.tensor(`${name}.${key}`), {
          rtol: 1e-6,
          atol: 1e-7,
          label: key,
        });
      }
    }
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

Deno.test("forward() with adapterNames has peft's logits", async () => {
  const model = await loadAdapters(["first", "second", "third"]);
  for (const [i, names] of fixture.json.mixed.entries()) {
    assertAllClose(await lastLogits(model, names), fixture.tensor(`mixed.${i}`), { rtol: 0, atol: 2e-5 });
  }
  model.dispose();
});

/** Two adapters of other values on the tiny model. */
async function two(
  second: Partial<LoraConfigFields> = {},
  first: Partial<LoraConfigFields> = {},
): Promise<PeftModel<GPT2LMHeadModel>> {
  const { peftModel } = await acting(first);
  peftModel.addAdapter("second", new LoraConfig({ r: 4, loraAlpha: 2, ...second }));
  peftModel.setAdapter("second");
  await randomise(peftModel, 4);
  peftModel.setAdapter("default");
  return peftModel;
}

Deno.test("cat is exact: 1 and 1 are both active, 1 and -1 of the same adapter are the base", async () => {
  const peftModel = await two({ targetModules: ["c_attn", "c_fc"] });
  const base = await peftModel.disableAdapter(() => logitsOf(peftModel));
  await peftModel.addWeightedAdapter(["default", "second"], [1, 1], "sum", { combinationType: "cat" });
  await peftModel.addWeightedAdapter(["second", "second"], [1, -1], "none", { combinationType: "cat" });
  peftModel.setAdapter(["default", "second"]);
  const both = await logitsOf(peftModel);
  peftModel.setAdapter("sum");
  assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 1e-5 });
  peftModel.setAdapter("none");
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-5 });
  const { r, loraAlpha, targetModules } = peftModel.peftConfig.sum as LoraConfig;
  assertEquals([r, loraAlpha, targetModules], [8, 8, ["c_attn", "c_fc"]]);
  peftModel.dispose();
});

Deno.test("cat and svd are exact with embeddings and biases of B too", async () => {
  const peftModel = await two({ targetModules: ["wte", "c_fc"] }, { targetModules: ["wte", "c_attn"] });
  peftModel.setAdapter(["default", "second"]);
  const both = await logitsOf(peftModel);
  for (const combinationType of ["cat", "svd"] as const) {
    await peftModel.addWeightedAdapter(["default", "second"], [1, 1], combinationType, {
      combinationType,
      svdRank: 8,
    });
    peftModel.setAdapter(combinationType);
    assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 2e-5, label: combinationType });
  }
  peftModel.dispose();
  const biased = await two({ targetModules: ["c_fc"] }, { targetModules: ["c_attn"], loraBias: true });
  biased.setAdapter(["default", "second"]);
  const all = await logitsOf(biased);
  await biased.addWeightedAdapter(["second", "default"], [1, 1], "sum", { combinationType: "cat" });
  biased.setAdapter("sum");
  assertAllClose(await logitsOf(biased), all, { rtol: 0, atol: 1e-5 });
  biased.dispose();
});

Deno.test("addWeightedAdapter() of rsLoRA and of rank patterns keeps their scalings", async () => {
  const fields: Partial<LoraConfigFields> = {
    useRslora: true,
    rankPattern: { "h.0.attn.c_attn": 2 },
    alphaPattern: { "h.1.attn.c_attn": 5 },
  };
  const peftModel = await two(fields, fields);
  peftModel.setAdapter(["default", "second"]);
  const both = await logitsOf(peftModel);
  for (const combinationType of ["cat", "svd"] as const) {
    await peftModel.addWeightedAdapter(["default", "second"], [1, 1], combinationType, {
      combinationType,
      svdRank: 8,
    });
    peftModel.setAdapter(combinationType);
    assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 1e-5, label: combinationType });
  }
  await peftModel.addWeightedAdapter(["default"], [1], "copy", { combinationType: "svd" });
  peftModel.setAdapter("default");
  const own = await logitsOf(peftModel);
  peftModel.setAdapter("copy");
  assertAllClose(await logitsOf(peftModel), own, { rtol: 0, atol: 1e-5 });
  peftModel.dispose();
});

Deno.test("svdClamp cuts the factors at the quantile of their elements", async () => {
  const peftModel = await two();
  await peftModel.addWeightedAdapter(["default", "second"], [1, 1], "free", {});
  await peftModel.addWeightedAdapter(["default", "second"], [1, 1], "cut", { svdClamp: 0.8 });
  for (const [, layer] of lowRankLayers(peftModel)) {
    const numbers = async (name: string) => {
      const { A, B } = layer.lowRank(name)!;
      return [...await A.data(), ...await B.data()];
    };
    const free = await numbers("free");
    const sorted = [...free].sort((a, b) => a - b);
    const place = 0.8 * (sorted.length - 1);
    const limit = sorted[Math.floor(place)] +
      (place % 1) * (sorted[Math.ceil(place)] - sorted[Math.floor(place)]);
    const wanted = free.map((value) => Math.max(-limit, Math.min(limit, value)));
    assertAllClose(await numbers("cut"), wanted, { rtol: 0, atol: 1e-6 });
  }
  peftModel.dispose();
});

Deno.test("a module trained whole by one adapter comes along; by both, the adapters cannot be combined", async () => {
  const peftModel = await two({}, { modulesToSave: ["ln_f"] });
  await peftModel.addWeightedAdapter(["default", "second"], [1, 0], "one", { combinationType: "cat" });
  const own = await logitsOf(peftModel);
  peftModel.setAdapter("one");
  assertAllClose(await logitsOf(peftModel), own, { rtol: 0, atol: 1e-5 });
  await assertRejects(
    () => peftModel.addWeightedAdapter(["default", "one"], [1, 1], "two"),
    RangeError,
    "Cannot add weighted adapters if they target the same module with modules_to_save, but found 1 such instance(s).",
  );
  peftModel.dispose();
});

Deno.test("tokens that one adapter trains come along; of two adapters that train tokens, none is made", async () => {
  const peftModel = await two({}, { trainableTokenIndices: [5, 200] });
  await peftModel.addWeightedAdapter(["second", "default"], [0, 1], "one", { combinationType: "cat" });
  const own = await logitsOf(peftModel);
  peftModel.setAdapter("one");
  assertAllClose(await logitsOf(peftModel), own, { rtol: 0, atol: 1e-5 });
  await assertRejects(
    () => peftModel.addWeightedAdapter(["default", "one"], [1, 1], "two"),
    RangeError,
    "at most one adapter may train tokens of a module, default, one do of",
  );
  peftModel.dispose();
});

Deno.test("adapters that narrow their targets down in different ways are united module by module", async () => {
  const peftModel = await two({ layersToTransform: [2] }, { layersToTransform: [0] });
  await peftModel.addWeightedAdapter(["default", "second"], [1, 1], "both", { combinationType: "cat" });
  const { targetModules, layersToTransform } = peftModel.peftConfig.both as LoraConfig;
  assertEquals(targetModules, ["transformer.h.0.attn.c_attn", "transformer.h.2.attn.c_attn"]);
  assertEquals(layersToTransform, null);
  peftModel.setAdapter(["default", "second"]);
  const both = await logitsOf(peftModel);
  peftModel.setAdapter("both");
  assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 1e-5 });
  peftModel.dispose();
});

Deno.test("DARE keeps each element with probability density and divides it by that; its seed repeats", () => {
  const ones = new Float32Array(40000).fill(2);
  const options = { density: 0.3, majoritySignMethod: "total" as const };
  const run = (seed: number) =>
    combineTensors("dare_linear", [ones], [0.5], { ...options, random: new HostRandom(seed) });
  const made = run(1);
  const kept = made.filter((value) => value !== 0);
  assert(kept.every((value) => value === Math.fround(1 / 0.3)));
  // 5 standard deviations of a binomial count
  assert(Math.abs(kept.length - 12000) < 5 * Math.sqrt(40000 * 0.3 * 0.7), `${kept.length}`);
  assertEquals(run(1), made);
  assert(run(2).some((value, i) => value !== made[i]));
  const ties = combineTensors("dare_ties", [ones, ones], [1, 1], { ...options, random: new HostRandom(3) });
  const both = 0.3 ** 2;
  const share = ties.filter((value) => value !== 0).length / 40000;
  assert(Math.abs(share - (2 * 0.3 - both)) < 0.015, `${share}`);
  assert(
    ties.every((value) => value === 0 || value === Math.fround(2 / 0.3)),
    "a mean over those that agree",
  );
});

Deno.test("addWeightedAdapter() refuses what cannot be combined, in peft's words, and changes nothing", async () => {
  const peftModel = await two({ r: 2 });
  peftModel.addAdapter("dora", new LoraConfig({ r: 4, useDora: true }));
  peftModel.addAdapter("pissa", new LoraConfig({ r: 4, initLoraWeights: "pissa" }));
  peftModel.addAdapter("pattern", new LoraConfig({ r: 4, targetModules: ".*c_attn" }));
  const before = await bytesOf(peftModel);
  const pair = ["default", "second"];
  const cases: [string[], number[], string, WeightedAdapterOptions, string][] = [
    [["default", "nope"], [1, 1], "x", {}, "Adapter nope does not exist"],
    [pair, [1, 1], "default", {}, "Adapter with name 'default' already exists."],
    [pair, [1, 1], "a.b", {}, "a name without dots and spaces is required"],
    [pair, [1], "x", {}, "a finite weight for each of 2 adapters is required, received [1]"],
    [pair, [1, NaN], "x", {}, "received [1, NaN]"],
    [[], [], "x", {}, "at least one adapter is required"],
    [
      pair,
      [1, 1],
      "x",
      { combinationType: "nope" as "cat" },
      "Invalid combination_type: nope, the types are",
    ],
    [pair, [1, 1], "x", { combinationType: "linear" }, "All adapters must have the same r value"],
    [pair, [1, 1], "x", { combinationType: "ties", density: 0.5 }, "same r value"],
    [pair, [1, 1], "x", { combinationType: "ties" }, 'combinationType "ties" needs a density'],
    [pair, [1, 1], "x", { combinationType: "ties_svd", density: -1 }, "Density should be >= 0, got -1"],
    [pair, [1, 1], "x", { svdRank: 0 }, "svdRank must be a positive integer, received 0"],
    [pair, [1, 1], "x", { svdClamp: 2 }, "svdClamp must be between 0 and 1, received 2"],
    [
      pair,
      [1, 1],
      "x",
      { majoritySignMethod: "most" as "total" },
      'majoritySignMethod must be "total" or "frequency", received "most"',
    ],
    [["default", "dora"], [1, 1], "x", {}, "adapters without DoRA are required"],
    [
      ["default", "pissa"],
      [1, 1],
      "x",
      {},
      "plain LoRA is required, received an adapter that starts from the weight",
    ],
    [["default", "pattern"], [1, 1], "x", {}, "follow the same target modules type"],
  ];
  for (const [adapters, weights, name, options, message] of cases) {
    const error = await assertRejects(
      () => peftModel.addWeightedAdapter(adapters, weights, name, options),
      Error,
      message,
    );
    assert(error instanceof RangeError || error instanceof TypeError, message);
  }
  assertEquals(Object.keys(peftModel.peftConfig), ["default", "second", "dora", "pissa", "pattern"]);
  assertEquals(await bytesOf(peftModel), before);
  assertEquals(
    await warningsOf(() =>
      peftModel.addWeightedAdapter(["default"], [1], "all", { combinationType: "dare_ties", density: 1.5 })
    ),
    ["The density 1.5 is greater than or equal to 1, no pruning will be performed."],
  );
  peftModel.dispose();
});

Deno.test("addWeightedAdapter() is for LoRA and IA3", async () => {
  const message = async (config: ConstructorParameters<typeof PeftModel>[1], options = {}) => {
    const { model } = await tinyModel();
    const peftModel = getPeftModel(model, config);
    const error = await assertRejects(
      () => peftModel.addWeightedAdapter(["default"], [1], "x", options),
      Error,
    );
    peftModel.dispose();
    return error.message;
  };
  assertEquals(
    await message(new LNTuningConfig()),
    'Cannot add a weighted adapter: adapters of "LORA", "IA3" are required, received "LN_TUNING"',
  );
  assertEquals(
    await message(new PrefixTuningConfig({ numVirtualTokens: 2 })),
    "Cannot add a weighted adapter: adapters that wrap layers are required, received virtual tokens",
  );
  assertEquals(
    await message(new IA3Config(), { combinationType: "cat" }),
    "Cannot add a weighted adapter: IA3 takes adapters, weights and a name, received combinationType too",
  );
});
