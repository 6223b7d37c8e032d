import {
  assert,
  assertAllClose,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { cast, type Tensor } from "../../autograd/mod.ts";
import {
  deleteAdapter,
  getPeftModel,
  getPeftModelStateDict,
  IA3Config,
  injectAdapterInModel,
  LoraConfig,
  PeftConfig,
  PeftModel,
  PrefixTuningConfig,
  setAdapter,
  setPeftModelStateDict,
  setRequiresGrad,
  VeraConfig,
} from "../../peft/mod.ts";
import { FIXTURES } from "../reference/fixtures.ts";
import { acting, bytesOf, logitsOf, randomise, tinyModel, warningsOf, withFolder } from "./tiny_model.ts";

const FIELDS = { r: 4, loraAlpha: 8 };

Deno.test("getPeftModelStateDict() has the file's keys for the named adapter alone, whatever its name", async () => {
  const { peftModel } = await acting({ modulesToSave: ["ln_f"] });
  peftModel.addAdapter("default_two", new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
  const state = getPeftModelStateDict(peftModel);
  assertEquals([...state.keys()], [
    ...[0, 1, 2].flatMap((i) =>
      ["A", "B"].map((part) => `base_model.model.transformer.h.${i}.attn.c_attn.lora_${part}.weight`)
    ),
    "base_model.model.transformer.ln_f.weight",
    "base_model.model.transformer.ln_f.bias",
  ]);
  assert(
    [...getPeftModelStateDict(peftModel, { adapterName: "default_two" }).keys()].every((key) =>
      key.includes("mlp.c_fc.lora_")
    ),
  );
  assertThrows(() => getPeftModelStateDict(peftModel, { adapterName: "two" }), RangeError, "does not exist");
  peftModel.dispose();
});

Deno.test("setPeftModelStateDict() copies an adapter to another model and name, by keys with or without the name", async () => {
  const { peftModel, logits } = await acting();
  const state = getPeftModelStateDict(peftModel);
  const named = new Map([...state].map(([key, tensor]) => [key.replace(".weight", ".other.weight"), tensor]));
  for (const given of [state, named, Object.fromEntries(state)]) {
    const { model } = await tinyModel();
    const other = getPeftModel(model, new LoraConfig(FIELDS), "other").eval();
    const result = await setPeftModelStateDict(other, given, { adapterName: "other" });
    assertEquals(result, { missingKeys: [], unexpectedKeys: [] });
    assertEquals(await logitsOf(other), logits);
    other.dispose();
  }
  peftModel.dispose();
});

Deno.test("setPeftModelStateDict() takes float16 values and keeps float32 parameters", async () => {
  const { peftModel, logits } = await acting();
  const halves = new Map([...getPeftModelStateDict(peftModel)].map(([key, tensor]): [string, Tensor] => [
    key,
    cast(tensor.detach(), "float16"),
  ]));
  await setPeftModelStateDict(peftModel, halves);
  assert([...getPeftModelStateDict(peftModel).values()].every((tensor) => tensor.dtype === "float32"));
  assertAllClose(await logitsOf(peftModel), logits, { rtol: 0, atol: 5e-3 });
  for (const tensor of halves.values()) tensor.dispose();
  peftModel.dispose();
});

Deno.test("setPeftModelStateDict() lists missing, unexpected and mis-shaped keys and changes nothing; strict false warns", async () => {
  const { peftModel } = await acting();
  const before = await bytesOf(peftModel);
  const state = getPeftModelStateDict(peftModel);
  const key = (i: number, part: string) =>
    `base_model.model.transformer.h.${i}.attn.c_attn.lora_${part}.weight`;
  const given = new Map(state);
  given.delete(key(0, "A"));
  given.set("nonsense", state.get(key(0, "A"))!);
  const error = await assertRejects(() => setPeftModelStateDict(peftModel, given), TypeError);
  assertEquals(
    error.message,
    `Cannot load adapter "state dict", 2 tensors differ: "${
      key(0, "A")
    }" is missing; "nonsense" is unexpected`,
  );
  given.set(key(1, "A"), state.get(key(1, "B"))!);
  const shapes = `"${key(1, "A")}" expected [4, 48], found [144, 4]`;
  await assertRejects(() => setPeftModelStateDict(peftModel, given, { strict: false }), TypeError, shapes);
  assertEquals(await bytesOf(peftModel), before);
  let result: unknown;
  const warnings = await warningsOf(async () => {
    result = await setPeftModelStateDict(peftModel, given, { strict: false, ignoreMismatchedSizes: true });
  });
  assertEquals(result, { missingKeys: [key(0, "A")], unexpectedKeys: ["nonsense"] });
  assertEquals(warnings, [
    `Found missing adapter keys while loading the checkpoint: [${key(0, "A")}]`,
    "Found unexpected adapter keys while loading the checkpoint: [nonsense]",
    `Some weights of the adapter were not loaded because the shapes did not match: ${shapes}`,
  ]);
  assertEquals(await bytesOf(peftModel), before, "the others were equal");
  await assertRejects(
    () => setPeftModelStateDict(peftModel, state, { adapterName: "nope" }),
    RangeError,
    "Adapter nope does not exist",
  );
  peftModel.dispose();
});

Deno.test("getPeftModelStateDict() and setPeftModelStateDict() carry virtual tokens", async () => {
  const { model } = await tinyModel();
  const first = getPeftModel(model, new PrefixTuningConfig({ numVirtualTokens: 3 }), "a", { seed: 5 }).eval();
  const logits = await logitsOf(first);
  const state = getPeftModelStateDict(first, { adapterName: "a" });
  assertEquals([...state.keys()], ["prompt_embeddings"]);
  const { model: other } = await tinyModel();
  const second = getPeftModel(other, new PrefixTuningConfig({ numVirtualTokens: 3 })).eval();
  await setPeftModelStateDict(second, state);
  assertEquals(await logitsOf(second), logits);
  for (const tensor of state.values()) tensor.dispose();
  first.dispose();
  second.dispose();
});

Deno.test("the state dict of each method's adapter makes the same adapter of a fresh one", async () => {
  const folders = [
    "lora/bias_all",
    "lora_variants/tokens",
    "methods/ia3",
    "methods/ln_tuning_some",
    "methods/vera",
  ];
  for (
    const folder of [...folders, "methods/lokr", "methods/adalora_some", "methods/boft", "prompt/p_tuning"]
  ) {
    const { model } = await tinyModel();
    const loaded = await PeftModel.fromPretrained(model, `${FIXTURES}${folder}`);
    const logits = await logitsOf(loaded);
    const state = getPeftModelStateDict(loaded);
    const { model: other } = await tinyModel();
    const fresh = await PeftModel.fromPretrained(other, `${FIXTURES}${folder}`, { adapterName: "fresh" });
    fresh.setRequiresGrad("fresh");
    await randomise(fresh);
    assertNotEquals(await logitsOf(fresh), logits, folder);
    await setPeftModelStateDict(fresh, state, { adapterName: "fresh" });
    assertEquals(await logitsOf(fresh), logits, folder);
    loaded.dispose();
    fresh.dispose();
  }
});

Deno.test("injectAdapterInModel() adapts the model itself: it acts, trains alone, and has plain keys", async () => {
  const { peftModel, logits } = await acting();
  const { device, model } = await tinyModel();
  const base = await logitsOf(model);
  assert(injectAdapterInModel(new LoraConfig(FIELDS), model) === model);
  const trained = [...model.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name);
  assertEquals(trained[0], "transformer.h.0.attn.c_attn.lora_A.default.weight");
  assertEquals(trained.length, 6);
  assertEquals([...getPeftModelStateDict(model).keys()][0], "transformer.h.0.attn.c_attn.lora_A.weight");
  await setPeftModelStateDict(model, getPeftModelStateDict(peftModel)); // base_model.model. in front
  assertEquals(await logitsOf(model), logits);
  await setPeftModelStateDict(model, getPeftModelStateDict(model));
  injectAdapterInModel(new LoraConfig({ r: 2, targetModules: ["c_fc"] }), model, "second");
  assertAllClose(await logitsOf(model), base, { rtol: 0, atol: 1e-6 });
  setAdapter(model, "default", { inferenceMode: true });
  assertEquals(await logitsOf(model), logits);
  assert([...model.parameters()].every((p) => !p.requiresGrad));
  setRequiresGrad(model, "second");
  assertEquals([...model.parameters()].filter((p) => p.requiresGrad).length, 6);
  deleteAdapter(model, "second");
  assert([...model.namedParameters()].every(([name]) => !name.includes("second")));
  deleteAdapter(model, "default");
  assertEquals(await logitsOf(model), base);
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
  peftModel.dispose();
});

Deno.test("injectAdapterInModel() refuses what only a PeftModel can hold", async () => {
  const { peftModel, model } = await acting();
  assertThrows(
    () => injectAdapterInModel(new LoraConfig(), model, "x"),
    TypeError,
    'Cannot inject the adapter: "transformer.h.0.attn.c_attn" has adapters already; use addAdapter() of the PeftModel it is in',
  );
  peftModel.dispose();
  const { model: plain } = await tinyModel();
  const before = await bytesOf(plain);
  assertThrows(
    () => injectAdapterInModel(new PrefixTuningConfig({ numVirtualTokens: 2 }), plain),
    RangeError,
    "`create_and_replace` does not support prompt learning, adaption prompt and shadow yet.",
  );
  assertThrows(
    () => injectAdapterInModel(new VeraConfig(), plain),
    RangeError,
    "`inject_adapter_in_model` does not support VERA because it uses shared state stored on the tuner.",
  );
  assertThrows(() => injectAdapterInModel(new LoraConfig({ targetModules: ["nope"] }), plain), TypeError);
  assertThrows(
    () => setAdapter(plain, "default"),
    TypeError,
    "Cannot set an adapter: a PeftModel, or a model given to injectAdapterInModel(), is required, received GPT2LMHeadModel",
  );
  assertEquals(await bytesOf(plain), before);
  injectAdapterInModel(new LoraConfig(), plain);
  assertThrows(
    () => injectAdapterInModel(new IA3Config(), plain, "y"),
    RangeError,
    "Cannot combine adapters with different peft types. Found LORA and IA3.",
  );
  plain.dispose();
});

Deno.test("loadAdapter() with ignoreMismatchedSizes leaves tensors of another shape out", async () => {
  const { peftModel } = await acting();
  await withFolder(async (folder) => {
    await peftModel.savePretrained(folder);
    const path = `${folder}/adapter_config.json`;
    const json = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...json, r: 3 }));
    await assertRejects(
      () => peftModel.loadAdapter(folder, "other"),
      TypeError,
      "expected [3, 48], found [4, 48]",
    );
    assertEquals(Object.keys(peftModel.peftConfig), ["default"]);
    const [warning] = await warningsOf(() =>
      peftModel.loadAdapter(folder, "other", { ignoreMismatchedSizes: true })
    );
    assert(
      warning.startsWith("Some weights of the adapter were not loaded because the shapes did not match: "),
    );
  });
  peftModel.dispose();
});

Deno.test("PeftConfig.fromPretrained() gives the class of the folder's method", async () => {
  const lora = await PeftConfig.fromPretrained(`${FIXTURES}lora/rslora`);
  assert(lora instanceof LoraConfig && lora.useRslora && lora.r === 4);
  assert(await PeftConfig.fromPretrained(`${FIXTURES}methods/ia3`) instanceof IA3Config);
  assert(await PeftConfig.fromPretrained(`${FIXTURES}prompt/prefix`) instanceof PrefixTuningConfig);
  await withFolder(async (folder) => {
    await assertRejects(
      () => PeftConfig.fromPretrained(folder),
      Error,
      `Can't find 'adapter_config.json' at '${folder}'`,
    );
  });
  const { model } = await tinyModel();
  const made = getPeftModel(model, lora);
  assert(made instanceof PeftModel);
  made.dispose();
});
