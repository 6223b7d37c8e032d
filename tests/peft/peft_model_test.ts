import {
  assert,
  assertAllClose,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Tensor } from "../../autograd/mod.ts";
import { Linear, Module, Parameter } from "../../nn/mod.ts";
import { getPeftModel, LoraConfig, type PeftModel } from "../../peft/mod.ts";
import type { LoraLayer } from "../../peft/mod.ts";
import type { GPT2LMHeadModel } from "../../model/mod.ts";
import {
  acting,
  BATCH,
  bytesOf,
  logitsOf,
  randomise,
  tinyModel,
  trainedNames,
  warningsOf,
} from "./tiny_model.ts";
import { ownDevice } from "../reference/fixtures.ts";

/** Adds an adapter that acts and trains, with other values. */
async function addSecond(
  peftModel: PeftModel<GPT2LMHeadModel>,
  name = "second",
  seed = 5,
): Promise<Float32Array> {
  peftModel.addAdapter(name, new LoraConfig({ r: 2, loraAlpha: 4, targetModules: ["c_fc"] }));
  peftModel.setAdapter(name);
  await randomise(peftModel, seed);
  return await logitsOf(peftModel);
}

Deno.test("addAdapter() adds one that neither acts nor trains; setAdapter() switches outputs and flags", async () => {
  const { peftModel, logits, base } = await acting();
  const first = trainedNames(peftModel);
  peftModel.addAdapter("second", new LoraConfig({ r: 2, targetModules: ["c_fc"] }));
  assertEquals([peftModel.activeAdapters, Object.keys(peftModel.peftConfig)], [["default"], [
    "default",
    "second",
  ]]);
  assertEquals(trainedNames(peftModel), first);
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.setAdapter("second");
  assertEquals(peftModel.activeAdapters, ["second"]);
  assert(
    trainedNames(peftModel).every((name) => name.includes(".second.")) &&
      trainedNames(peftModel).length === 6,
  );
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-6 });
  await randomise(peftModel, 9);
  const second = await logitsOf(peftModel);
  peftModel.setAdapter("default");
  assertEquals(await logitsOf(peftModel), logits, "the first is untouched");
  assertEquals(trainedNames(peftModel), first);
  peftModel.setAdapter("second");
  assertEquals(await logitsOf(peftModel), second);
  peftModel.dispose();
});

Deno.test("two active adapters add up, in the same layers and in different ones", async () => {
  const { device, peftModel, model } = await acting();
  peftModel.addAdapter("other", new LoraConfig({ r: 2, loraAlpha: 2, targetModules: ["c_attn", "c_fc"] }));
  peftModel.setAdapter("other");
  await randomise(peftModel, 3);
  peftModel.setAdapter(["default", "other"]);
  const both = await logitsOf(peftModel);
  assertEquals(trainedNames(peftModel).length, 6 + 12);
  await peftModel.mergeAdapter();
  assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 1e-5, label: "both merged" });
  peftModel.unmergeAdapter();
  assertEquals(await logitsOf(peftModel), both);
  await peftModel.mergeAdapter({ adapterNames: ["default"] });
  assertAllClose(await logitsOf(peftModel), both, {
    rtol: 0,
    atol: 1e-5,
    label: "one merged, one beside it",
  });
  await peftModel.mergeAdapter({ adapterNames: ["other"] });
  assertAllClose(await logitsOf(peftModel), both, { rtol: 0, atol: 1e-5, label: "one after the other" });
  peftModel.unmergeAdapter();
  assertEquals(await logitsOf(peftModel), both);
  const output = peftModel.forward(BATCH);
  output.loss!.backward();
  const layer = model.transformer.h[0].attn.c_attn as unknown as LoraLayer;
  for (const name of ["default", "other"]) assert(layer.lora_A.get(name)!.weight.grad, `gradient of ${name}`);
  output.dispose();
  peftModel.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("two active adapters have the gradients of central differences", async () => {
  const { peftModel, model } = await acting({ targetModules: ["mlp.c_fc"], layersToTransform: [1] });
  peftModel.addAdapter(
    "other",
    new LoraConfig({ r: 2, targetModules: ["mlp.c_fc"], layersToTransform: [1] }),
  );
  peftModel.setAdapter("other");
  await randomise(peftModel, 3);
  peftModel.setAdapter(["default", "other"]);
  const loss = async () => {
    using output = peftModel.forward(BATCH);
    return await output.loss!.item();
  };
  {
    using output = peftModel.forward(BATCH);
    output.loss!.backward();
  }
  const layer = model.transformer.h[1].mlp.c_fc as unknown as LoraLayer;
  for (const name of ["default", "other"]) {
    const { weight } = layer.lora_B.get(name)!;
    const values = await weight.data() as Float32Array<ArrayBuffer>;
    const grad = await weight.grad!.data();
    // One direction for all: the gradient itself, so that rounding of the loss matters least.
    const norm = Math.sqrt([...grad].reduce((sum, g) => sum + g * g, 0));
    const step = 0.02 / norm;
    const at = async (sign: number) => {
      weight.write(values.map((v, i) => v + sign * step * grad[i]));
      return await loss();
    };
    const slope = (await at(1) - await at(-1)) / (2 * step);
    weight.write(values);
    assertAllClose([slope], [norm * norm], { rtol: 5e-3, atol: 0, label: name });
  }
  peftModel.dispose();
});

Deno.test("deleteAdapter() frees it, moves on to the next, and puts plain modules back with the last", async () => {
  const { device, model, peftModel, base, baseBytes } = await acting();
  const only = device.memory.liveBytes;
  await addSecond(peftModel);
  const warnings = await warningsOf(() => peftModel.deleteAdapter("second"));
  assertEquals(warnings, [
    "Adapter second was active which is now deleted. Setting active adapter to default.",
  ]);
  assertEquals([peftModel.activeAdapters, device.memory.liveBytes], [["default"], only]);
  assert([...model.namedModules()].every(([path]) => !path.includes("c_fc.lora")));
  const logits = await addSecond(peftModel, "third", 7);
  peftModel.deleteAdapter("default");
  assertEquals(await logitsOf(peftModel), logits, "an inactive one goes without a trace");
  peftModel.deleteAdapter("third");
  assertEquals(peftModel.activeAdapters, []);
  assertEquals(await logitsOf(peftModel), base);
  assertEquals([...model.namedParameters()].map(([name]) => name), [...baseBytes.keys()]);
  peftModel.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a merged adapter cannot be deleted, and is unmerged when another is set", async () => {
  const { peftModel, logits } = await acting();
  peftModel.addAdapter("second", new LoraConfig({ r: 2 }));
  await peftModel.mergeAdapter();
  assertThrows(
    () => peftModel.deleteAdapter("default"),
    RangeError,
    "Cannot delete adapter(s) ['default'] while they are merged. Please unmerge them first.",
  );
  const warnings = await warningsOf(() => peftModel.setAdapter("second"));
  assertEquals(warnings, ["Adapter cannot be set when the model is merged. Unmerging the model first."]);
  peftModel.setAdapter("default");
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.dispose();
});

Deno.test("modulesToSave trains a copy that acts with its adapter and leaves the original alone", async () => {
  const { peftModel, model, base, logits } = await acting({
    modulesToSave: ["ln_f"],
    targetModules: ["c_fc"],
  });
  const names = [...peftModel.namedParameters()].map(([name]) => name);
  assert(names.includes("base_model.model.transformer.ln_f.original_module.weight"));
  assert(
    trainedNames(peftModel).includes("base_model.model.transformer.ln_f.modules_to_save.default.weight"),
  );
  assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
  peftModel.addAdapter("plain", new LoraConfig({ r: 2 }));
  peftModel.setAdapter("plain");
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-6 });
  peftModel.setAdapter("default");
  assertEquals(await logitsOf(peftModel), logits);
  const merged = await peftModel.mergeAndUnload({ adapterNames: ["default"] });
  assertAllClose(await logitsOf(merged), logits, { rtol: 0, atol: 1e-5 });
  assert([...model.namedParameters()].some(([name]) => name === "transformer.ln_f.weight"));
  merged.dispose();
});

Deno.test("names that are taken, unknown or malformed are errors that change nothing", async () => {
  const { peftModel, logits } = await acting();
  const bytes = await bytesOf(peftModel);
  const cases: [() => unknown, string][] = [
    [
      () => peftModel.addAdapter("default", new LoraConfig()),
      "Cannot add adapter \"default\": Adapter with name 'default' already exists.",
    ],
    [() => peftModel.addAdapter("a.b", new LoraConfig()), "a name without dots and spaces is required"],
    [() => peftModel.addAdapter("", new LoraConfig()), "a name without dots and spaces is required"],
    [
      () => peftModel.setAdapter("other"),
      'Cannot use adapter "other": Adapter other does not exist, adapters here are "default"',
    ],
    [() => peftModel.setAdapter(["default", "other"]), "Adapter other does not exist"],
    [() => peftModel.deleteAdapter("other"), "Adapter other does not exist"],
  ];
  for (const [act, message] of cases) assertThrows(act, RangeError, message);
  await assertRejects(
    () => peftModel.mergeAdapter({ adapterNames: ["other"] }),
    RangeError,
    "does not exist",
  );
  await assertRejects(
    () => peftModel.savePretrained("/nowhere", { selectedAdapters: ["other"] }),
    RangeError,
    "does not exist",
  );
  assertThrows(
    () => getPeftModel(peftModel.getBaseModel(), new LoraConfig()),
    TypeError,
    'Cannot wrap the model: "transformer.h.0.attn.c_attn" has adapters already; use addAdapter() of the PeftModel it is in',
  );
  assertEquals(await bytesOf(peftModel), bytes);
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.dispose();
});

Deno.test("a second adapter that trains biases is refused", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, new LoraConfig({ r: 2, bias: "lora_only" }));
  assertThrows(
    () => peftModel.addAdapter("second", new LoraConfig({ r: 2, bias: "all" })),
    RangeError,
    'Cannot add adapter "second": only one adapter may train biases, "default" does already; set bias "none"',
  );
  peftModel.addAdapter("third", new LoraConfig({ r: 2 }));
  peftModel.dispose();
});

Deno.test("getNbTrainableParameters() and printTrainableParameters() count as peft does", async () => {
  const { peftModel } = await acting();
  assertEquals(peftModel.getNbTrainableParameters(), [2304, 102_624]);
  const { log } = console;
  const lines: string[] = [];
  console.log = (line: string) => lines.push(line);
  try {
    peftModel.printTrainableParameters();
  } finally {
    console.log = log;
  }
  assertEquals(lines, ["trainable params: 2,304 || all params: 102,624 || trainable%: 2.2451"]);
  peftModel.dispose();
});

Deno.test("generate() goes through the adapter, with and without a cache", async () => {
  const { peftModel, model } = await acting();
  const options = { maxNewTokens: 6, eosTokenId: null };
  const adapted = await peftModel.generate([[5, 6, 7]], options);
  assertEquals(await peftModel.generate([[5, 6, 7]], { ...options, useCache: false }), adapted);
  const base = await peftModel.disableAdapter(() => model.generate([[5, 6, 7]], options));
  assertNotEquals(base, adapted);
  peftModel.dispose();
});

Deno.test("forward() gives a model of the caller's own a tensor as it is", async () => {
  const device = await ownDevice();
  class Classifier extends Module {
    score = new Linear(Parameter.from([[1, 0, 2], [0, 1, 0]], { device }));
    forward(x: Tensor): Tensor {
      return this.score.forward(x);
    }
  }
  const peftModel = getPeftModel(new Classifier(), new LoraConfig({ r: 2, targetModules: ["score"] }));
  const x = Tensor.from([[1, 2, 3]], { device });
  assertEquals([...await peftModel.forward(x).data()], [7, 2], "B is zero");
  await randomise(peftModel);
  const changed = [...await peftModel.forward(x).data()] as number[];
  assertNotEquals(changed, [7, 2]);
  const merged = await peftModel.mergeAndUnload();
  assertAllClose(await merged.forward(x).data() as Float32Array, changed, { rtol: 1e-5, atol: 1e-5 });
});
