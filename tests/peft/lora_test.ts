import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { getPeftModel, LoraConfig, type LoraConfigFields } from "../../peft/mod.ts";
import type { LoraLayer } from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";
import { BATCH, bytesOf, logitsOf, randomise, tinyModel, warningsOf } from "./tiny_model.ts";

/** The tiny model under LoRA, in eval mode, and the layer of block 0's c_attn. */
async function adapted(fields: Partial<LoraConfigFields> = {}, seed?: number, dtype?: "float16") {
  const { device, model } = await tinyModel(dtype);
  const base = await logitsOf(model);
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 8, ...fields }), "default", {
    seed,
  });
  assert(peftModel.training, "a new adapter is there to train");
  peftModel.eval();
  const layer = model.transformer.h[0].attn.c_attn as unknown as LoraLayer;
  const A = await layer.lora_A.get("default")!.weight.data() as Float32Array;
  const B = await layer.lora_B.get("default")!.weight.data() as Float32Array;
  return { device, model, base, peftModel, layer, A, B };
}

const deviation = (x: Float32Array) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

Deno.test("a fresh LoRA changes nothing: A is uniform in 1/sqrt(in), B is zero", async () => {
  const { peftModel, base, A, B, layer } = await adapted({ r: 64 });
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-6 });
  assertEquals([layer.lora_A.get("default")!.weight.shape, layer.lora_B.get("default")!.weight.shape], [
    [64, 48],
    [144, 64],
  ]);
  const bound = 1 / Math.sqrt(48);
  assert(
    A.every((v) => Math.abs(v) <= bound) && Math.max(...A) > 0.98 * bound && Math.min(...A) < -0.98 * bound,
  );
  assert(Math.abs(deviation(A) - bound / Math.sqrt(3)) < 0.01 * bound, `deviation ${deviation(A)}`);
  assert(B.every((v) => v === 0));
  peftModel.dispose();
});

Deno.test('initLoraWeights "gaussian" draws A with deviation 1/r, false makes the adapter act at once', async () => {
  const gaussian = await adapted({ r: 32, initLoraWeights: "gaussian" });
  assert(Math.abs(deviation(gaussian.A) - 1 / 32) < 0.05 / 32, `deviation ${deviation(gaussian.A)}`);
  assert(gaussian.A.some((v) => Math.abs(v) > 2.5 / 32) && gaussian.B.every((v) => v === 0));
  gaussian.peftModel.dispose();
  const active = await adapted({ r: 32, initLoraWeights: false });
  const bound = 1 / Math.sqrt(32);
  assert(active.B.every((v) => Math.abs(v) <= bound) && deviation(active.B) > 0.5 * bound);
  assert((await logitsOf(active.peftModel)).some((v, i) => Math.abs(v - active.base[i]) > 0.01));
  active.peftModel.dispose();
});

Deno.test("initial values differ between layers and follow the seed", async () => {
  const [first, again, other] = [await adapted({}, 1), await adapted({}, 1), await adapted({}, 2)];
  assertEquals(await bytesOf(first.peftModel), await bytesOf(again.peftModel));
  assert(first.A.some((v, i) => v !== other.A[i]));
  const second = first.model.transformer.h[1].attn.c_attn as unknown as LoraLayer;
  assert(
    (await second.lora_A.get("default")!.weight.data()).some((v: number, i: number) => v !== first.A[i]),
  );
  for (const { peftModel } of [first, again, other]) peftModel.dispose();
});

Deno.test("the scaling is alpha / r, with useRslora alpha / sqrt(r), by pattern where one matches", async () => {
  const plain = await adapted({ r: 4, loraAlpha: 12 });
  assertEquals(plain.layer.scaling.get("default"), 3);
  const stable = await adapted({ r: 4, loraAlpha: 12, useRslora: true });
  assertEquals(stable.layer.scaling.get("default"), 6);
  const patterned = await adapted({
    r: 4,
    loraAlpha: 12,
    rankPattern: { "h.0.attn.c_attn": 2 },
    alphaPattern: { "^transformer.h.0.attn.c_attn": 5, c_attn: 1 },
  });
  assertEquals(patterned.layer.scaling.get("default"), 2.5);
  const second = patterned.model.transformer.h[1].attn.c_attn as unknown as LoraLayer;
  assertEquals(second.scaling.get("default"), 0.25);
  for (const { peftModel } of [plain, stable, patterned]) peftModel.dispose();
});

Deno.test("only the adapter's parameters train: the base keeps every byte while the loss falls", async () => {
  const { device, model, peftModel } = await adapted({ targetModules: "all-linear" });
  const before = await bytesOf(peftModel);
  const trained = [...peftModel.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name);
  assertEquals(trained.length, 24);
  assert(trained.every((name) => /\.lora_[AB]\.default\.weight$/.test(name)));
  const optimizer = new AdamW([...peftModel.parameters()].filter((p) => p.requiresGrad), { lr: 1e-2 });
  const losses: number[] = [];
  for (let step = 0; step < 8; step++) {
    using output = peftModel.forward(BATCH);
    losses.push(await output.loss!.item());
    output.loss!.backward();
    const touched = [...peftModel.namedParameters()].filter(([, p]) => p.grad).map(([name]) => name);
    assertEquals(touched, trained, "no gradient for a frozen weight");
    optimizer.step();
    optimizer.zeroGrad();
  }
  assert(losses.at(-1)! < losses[0] - 0.5, `${losses}`);
  const after = await bytesOf(peftModel);
  for (const [name, bytes] of before) {
    assertEquals(after.get(name) === bytes, !trained.includes(name), `${name} ${trained.includes(name)}`);
  }
  assert(model.transformer.wte.weight.grad === null);
  peftModel.dispose();
  assert(device.memory.liveBytes > 0, "the optimizer still holds its state");
});

Deno.test("loraDropout acts while training alone and its losses repeat with seed and step", async () => {
  const { model, peftModel } = await adapted({ loraDropout: 0.5 });
  await randomise(peftModel);
  const loss = async () => {
    using output = peftModel.forward(BATCH);
    return await output.loss!.item();
  };
  const still = await loss();
  assertEquals(await loss(), still, "eval: no dropout");
  peftModel.train();
  const first = await loss();
  const second = await loss();
  assert(first !== second && first !== still);
  const { seed } = model.random;
  model.random.seed = seed;
  const repeated = [await loss(), await loss()];
  model.random.seed = seed;
  assertEquals([await loss(), await loss()], repeated);
  peftModel.eval();
  assertEquals(await loss(), still);
  peftModel.dispose();
});

Deno.test("LoRA over frozen float16 weights starts as the base, trains, merges and unmerges bit for bit", async () => {
  const { peftModel, base, layer } = await adapted({}, 3, "float16");
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 2e-6 });
  assertEquals(layer.weight.dtype, "float16");
  await randomise(peftModel);
  const separate = await logitsOf(peftModel);
  const before = await layer.weight.data();
  await peftModel.mergeAdapter();
  assert((await layer.weight.data()).some((v: number, i: number) => v !== before[i]));
  assertAllClose(await logitsOf(peftModel), separate, { rtol: 0, atol: 2e-2 }); // merged weights are rounded to halves
  peftModel.unmergeAdapter();
  assertEquals(await layer.weight.data(), before);
  assertEquals(await logitsOf(peftModel), separate);
  using output = peftModel.forward(BATCH);
  output.loss!.backward();
  assert(layer.lora_A.get("default")!.weight.grad && layer.weight.grad === null);
  peftModel.dispose();
});

Deno.test("getPeftModel() of a model in training mode drops out, of one in eval mode trains all the same", async () => {
  const { peftModel, model } = await adapted();
  peftModel.train();
  assert(model.training && [...peftModel.namedModules()].every(([, m]) => m.training));
  peftModel.eval();
  assert([...peftModel.namedModules()].every(([, m]) => !m.training));
  peftModel.dispose();
});

Deno.test("new LoraConfig() has peft's defaults", () => {
  const config = new LoraConfig() as unknown as Record<string, unknown>;
  const defaults = {
    peftType: "LORA",
    taskType: "CAUSAL_LM",
    inferenceMode: false,
    baseModelNameOrPath: null,
    revision: null,
    r: 8,
    loraAlpha: 8,
    loraDropout: 0,
    targetModules: null,
    excludeModules: null,
    bias: "none",
    useRslora: false,
    modulesToSave: null,
    initLoraWeights: true,
    layersToTransform: null,
    layersPattern: null,
    rankPattern: {},
    alphaPattern: {},
    fanInFanOut: false,
  };
  for (const [name, value] of Object.entries(defaults)) assertEquals(config[name], value, name);
});

/** Fields out of range, as JavaScript callers and files may have them. */
const BAD: [Record<string, unknown>, string][] = [
  [{ r: 0 }, "Cannot configure lora: `r` should be a positive integer value but the value passed is 0"],
  [{ r: -2 }, "the value passed is -2"],
  [{ r: 2.5 }, "the value passed is 2.5"],
  [{ r: "8" }, "the value passed is 8"],
  [{ loraAlpha: NaN }, "lora_alpha must be a number of at least 0, received NaN"],
  [{ loraAlpha: Infinity }, "lora_alpha must be a number of at least 0, received Infinity"],
  [{ loraDropout: 1.5 }, "lora_dropout must be a number from 0 to 1, received 1.5"],
  [{ loraDropout: -0.1 }, "lora_dropout must be a number from 0 to 1, received -0.1"],
  [{ bias: "some" }, 'bias must be "none", "all" or "lora_only", received "some"'],
  [{ initLoraWeights: "foo" }, 'Unknown initialization init_lora_weights="foo"'],
  [
    { rankPattern: { c_attn: 0 } },
    '`rank_pattern of "c_attn"` should be a positive integer value but the value passed is 0',
  ],
  [
    { alphaPattern: { c_attn: NaN } },
    'alpha_pattern of "c_attn" must be a number of at least 0, received NaN',
  ],
  [
    { targetModules: ".*c_attn", layersToTransform: [0] },
    "`layers_to_transform` cannot be used when `target_modules` is a str.",
  ],
  [
    { targetModules: ["c_attn"], layersPattern: "h" },
    "When `layers_pattern` is specified, `layers_to_transform` must also be specified.",
  ],
  [{ taskType: "FOO" }, "Invalid task type: 'FOO'. Must be one of the following task types: SEQ_CLS"],
  [{ rank: 8 }, "Cannot configure lora: fields are taskType"],
  [
    { loraAlfa: 8, target_module: "x" },
    ', received loraAlfa, target_module, did you mean "loraAlpha", "targetModules"?',
  ],
  [{ targetModules: 3 }, "target_modules must be"],
  [{ targetModules: ["c_attn", 3] }, "target_modules must be"],
  [{ excludeModules: {} }, "exclude_modules must be"],
  [{ modulesToSave: "ln_f" }, "modules_to_save must be"],
  [{ useRslora: "yes" }, "use_rslora must be"],
  [{ targetModules: ["c_attn"], layersToTransform: [0.5] }, "layers_to_transform must be"],
  [{ rankPattern: [4] }, "rank_pattern must map patterns to numbers, received [4]"],
];

Deno.test("new LoraConfig() refuses values out of range, by name and with what came", () => {
  for (const [fields, message] of BAD) {
    assertThrows(() => new LoraConfig(fields as Partial<LoraConfigFields>), RangeError, message);
  }
});

Deno.test("LoraConfig.fromJSON() reads what toJSON() writes, warns of unknown fields, refuses unsupported ones", async () => {
  const config = new LoraConfig({
    r: 3,
    targetModules: ["c_fc"],
    rankPattern: { c_fc: 2 },
    bias: "lora_only",
  });
  assertEquals(LoraConfig.fromJSON(config.toJSON()), config);
  const warnings = await warningsOf(() => {
    assertEquals(LoraConfig.fromJSON({ peft_type: "LORA", r: 2, some_new_field: 1 }).r, 2);
  });
  assertEquals(warnings, ["Unexpected fields [some_new_field] in the lora configuration are ignored."]);
  for (
    const [json, message] of [
      [{ use_qalora: true }, "use_qalora is not supported, received true"],
      [{ layer_replication: [[0, 2]] }, "layer_replication is not supported, received [[0,2]]"],
      [{ kasa_config: { a: 1 } }, 'kasa_config is not supported, received {"a":1}'],
      [{ r: 0 }, "`r` should be a positive integer"],
    ] as const
  ) assertThrows(() => LoraConfig.fromJSON({ peft_type: "LORA", ...json }), RangeError, message);
});
