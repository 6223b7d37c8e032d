/**
 * Adapters of several methods on one model.
 * @module
 */
import {
  assert,
  assertAllClose,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import {
  AdaLoraConfig,
  getPeftModel,
  hotswapAdapter,
  IA3Config,
  LoHaConfig,
  LoKrConfig,
  LoraConfig,
  OFTConfig,
  PeftModel,
  PrefixTuningConfig,
} from "../../peft/mod.ts";
import { relativeL2 } from "../assert.ts";
import { assertNear, expectedOf, loadFixture, ownDevice } from "../reference/fixtures.ts";
import { BATCH, bytesOf, logitsOf, randomise, tinyModel, withFolder } from "./tiny_model.ts";

/** `expected.json` of the fixture. */
interface Json {
  lora: { r: number; lora_alpha: number; target_modules: string[] };
  adalora: {
    init_r: number;
    target_r: number;
    lora_alpha: number;
    total_step: number;
    target_modules: string[];
  };
  input_ids: number[][];
  labels: number[][];
  loss: number;
  trainable: number;
}

/** LoRA "one" and AdaLoRA "two" of the fixture, both active. */
async function fixtureModel() {
  const expected = await expectedOf<Json>("mixed");
  const { lora, adalora } = expected.json;
  const base = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const config = new LoraConfig({
    r: lora.r,
    loraAlpha: lora.lora_alpha,
    targetModules: lora.target_modules,
  });
  const model = getPeftModel(base, config, "one", { mixed: true });
  model.addAdapter(
    "two",
    new AdaLoraConfig({
      initR: adalora.init_r,
      targetR: adalora.target_r,
      loraAlpha: adalora.lora_alpha,
      totalStep: adalora.total_step,
      targetModules: adalora.target_modules,
    }),
  );
  model.setAdapter(["one", "two"]);
  model.eval();
  /** `one.transformer.h.0.attn.c_attn.lora_A.weight` for a parameter's path. */
  const nameOf = (path: string) => {
    const [, module, part, adapter, rest = ""] = path.match(
      /^base_model\.model\.(.*)\.(lora_[ABE])\.(one|two)(\..*)?$/,
    )!;
    return `${adapter}.${module}.${part}${rest}`;
  };
  const own = [...model.namedParameters()].filter(([, p]) => p.requiresGrad);
  for (const [path, parameter] of own) parameter.write(expected.tensor(`param.${nameOf(path)}`));
  return { model, base, expected, own, nameOf };
}

Deno.test("a mixed model of LoRA and AdaLoRA has peft's logits, loss and gradients", async () => {
  const { model, expected: { json, ...expected }, own, nameOf } = await fixtureModel();
  assertEquals(model.getNbTrainableParameters()[0], json.trainable);
  const inputs = { inputIds: json.input_ids, labels: json.labels };
  const output = model.forward(inputs);
  await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
  output.loss!.backward();
  let compared = 0;
  for (const [path, { grad }] of own) {
    const wanted = expected.tensor(`grad.${nameOf(path)}`);
    // AdaLoRA's orthogonality term comes on top here, as without mixing; peft's mixed model leaves it out.
    if (path.includes(".two")) assert(grad, path);
    else {
      compared++;
      assert(relativeL2(await grad!.data(), wanted) < 1e-5, path);
    }
  }
  assertEquals(compared, 12);
  output.dispose();
  for (const name of ["one", "two"]) {
    model.setAdapter(name);
    using last = noGrad(() => model.getBaseModel().lastLogits({ inputIds: json.input_ids }));
    await assertNear(last, expected.tensor(`${name}.logits`), 2e-5, `${name} alone`);
  }
  model.dispose();
});

Deno.test("a mixed model merges all its methods to the same logits, and unmerges to the base's bytes", async () => {
  const { model, base, expected: { json, ...expected } } = await fixtureModel();
  const before = await bytesOf(base);
  await model.mergeAdapter({ safeMerge: true });
  using merged = noGrad(() => base.lastLogits({ inputIds: json.input_ids }));
  const all = expected.tensor("logits");
  const [B, T, V] = [json.input_ids.length, json.input_ids[0].length, all.length / 24];
  const last = Float32Array.from(
    { length: B * V },
    (_, i) => all[(Math.floor(i / V) * T + T - 1) * V + i % V],
  );
  await assertNear(merged, last, 2e-5, "merged");
  model.unmergeAdapter();
  assertEquals(await bytesOf(base), before);
  model.dispose();
});

/** Five methods on the same layers. */
async function fiveMethods() {
  const { device, model: base } = await tinyModel();
  const [logits, bytes] = [await logitsOf(base), await bytesOf(base)];
  const targets = { targetModules: ["c_attn", "mlp.c_proj"] };
  const model = getPeftModel(base, new LoraConfig({ r: 2, ...targets }), "lora1", { mixed: true });
  model.addAdapter("loha1", new LoHaConfig({ r: 2, ...targets }));
  model.addAdapter("lokr1", new LoKrConfig({ r: 2, ...targets }));
  model.addAdapter("ada", new AdaLoraConfig({ initR: 3, targetR: 2, totalStep: 9, ...targets }));
  model.addAdapter("oft1", new OFTConfig({ oftBlockSize: 8, ...targets }));
  return { device, base, logits, bytes, model: model.eval() };
}

Deno.test("five methods on the same layers start as the base, each acts, and all merge to their sum", async () => {
  const { device, base, logits, bytes, model } = await fiveMethods();
  const names = ["lora1", "loha1", "lokr1", "ada", "oft1"];
  model.setAdapter(names);
  assertAllClose(await logitsOf(model), logits, { rtol: 0, atol: 1e-5 });
  await randomise(model);
  const all = await logitsOf(model);
  const alone = new Map<string, Float32Array>();
  for (const name of names) {
    model.setAdapter(name);
    alone.set(name, await logitsOf(model));
    assertNotEquals(alone.get(name), logits, name);
  }
  model.setAdapter(names);
  assertEquals(await logitsOf(model), all);
  assertEquals(await model.disableAdapter(() => logitsOf(model)), logits);
  await model.mergeAdapter();
  assertAllClose(await logitsOf(model), all, { rtol: 0, atol: 2e-5, label: "merged" });
  model.unmergeAdapter();
  assertEquals(await logitsOf(model), all);
  model.deleteAdapter("loha1");
  model.renameAdapter("ada", "adalora1");
  model.setAdapter("adalora1");
  assertEquals(await logitsOf(model), alone.get("ada"));
  assertEquals(model.unload(), base);
  assertEquals(await bytesOf(base), bytes);
  base.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("each adapter of a mixed model is saved as its own method, and loads without the others", async () => {
  const { model } = await fiveMethods();
  for (const name of ["lora1", "oft1"]) {
    model.setAdapter(name);
    await randomise(model, 3);
  }
  const logits = await logitsOf(model);
  await withFolder(async (folder) => {
    await model.savePretrained(folder);
    const loaded = await PeftModel.fromPretrained((await tinyModel()).model, `${folder}/oft1`);
    assertAllClose(await logitsOf(loaded), logits, { rtol: 0, atol: 1e-6 });
    loaded.dispose();
    const mixed = await PeftModel.fromPretrained((await tinyModel()).model, `${folder}/lora1`, {
      adapterName: "a",
      mixed: true,
    });
    await mixed.loadAdapter(`${folder}/oft1`, "b");
    mixed.setAdapter("b");
    assertAllClose(await logitsOf(mixed), logits, { rtol: 0, atol: 1e-6 });
    mixed.dispose();
  });
  model.dispose();
});

Deno.test("a mixed model refuses what stands alone, and leaves the model as it was", async () => {
  const { model: base } = await tinyModel();
  const [names, bytes] = [[...base.namedModules()].map(([path]) => path), await bytesOf(base)];
  const refused: [() => PeftModel<GPT2LMHeadModel>, string][] = [
    [
      () => getPeftModel(base, new IA3Config(), "default", { mixed: true }),
      "The provided `peft_type` 'IA3' is not compatible with a mixed model. Compatible types are: ",
    ],
    [
      () => getPeftModel(base, new PrefixTuningConfig({ numVirtualTokens: 2 }), "default", { mixed: true }),
      "The provided `peft_type` 'PREFIX_TUNING' is not compatible",
    ],
    [
      () =>
        getPeftModel(base, new LoraConfig({ useDora: true, loraBias: false }), "default", { mixed: true }),
      "Cannot apply lora beside other methods: a plain adapter is required, received use_dora",
    ],
    [
      () => getPeftModel(base, new LoraConfig({ initLoraWeights: "pissa" }), "default", { mixed: true }),
      'received init_lora_weights "pissa"',
    ],
  ];
  for (const [make, message] of refused) assertThrows(make, RangeError, message);
  assertEquals([...base.namedModules()].map(([path]) => path), names);
  assertEquals(await bytesOf(base), bytes);
  const model = getPeftModel(base, new LoraConfig({ r: 2 }), "a", { mixed: true });
  model.addAdapter("b", new LoraConfig({ r: 2 }));
  await assertRejects(
    () => model.addWeightedAdapter(["a", "b"], [1, 1], "c"),
    TypeError,
    "Cannot add a weighted adapter: a model of one method is required, received a mixed one",
  );
  await assertRejects(
    () => hotswapAdapter(model, "nowhere", "a"),
    TypeError,
    "Cannot hot-swap the adapter: a model of one method is required, received a mixed one",
  );
  model.dispose();
});

Deno.test("a mixed model gives each row of a batch the adapter of its own method", async () => {
  const { model: base } = await tinyModel();
  const model = getPeftModel(base, new LoraConfig({ r: 2 }), "a", { mixed: true }).eval();
  await randomise(model, 3);
  model.addAdapter("b", new OFTConfig({ oftBlockSize: 8 }));
  model.setAdapter("b");
  await randomise(model, 4);
  using mixed = model.forward({ inputIds: BATCH.inputIds, adapterNames: ["b", "a"] });
  const logits = await mixed.logits.data() as Float32Array;
  const half = logits.length / 2;
  assertAllClose(logits.slice(0, half), (await logitsOf(model)).slice(0, half), { rtol: 0, atol: 2e-6 });
  model.setAdapter("a");
  assertAllClose(logits.slice(half), (await logitsOf(model)).slice(half), { rtol: 0, atol: 2e-6 });
  model.dispose();
});
