/**
 * Every PEFT method over a base in formats of few bits: GPT-2, whose weights lie transposed there, from a GGUF file of
 * mixed blocks. Held to the same adapter over the dequantised base.
 * @module
 */
import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { isQuantized, noGrad, tidy } from "../../autograd/mod.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { AutoModelForCausalLM, type GPT2LMHeadModel } from "../../model/mod.ts";
import { getPeftModel, LoraConfig, PeftModel } from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { type Case, casesOn, type Tree, TREES } from "./contract_cases.ts";
import { BATCH, bytesOf, logitsOf, randomise } from "./tiny_model.ts";

const FILE = new URL("../fixtures/gguf/gpt2_mixed.gguf", import.meta.url).pathname;
const modulo = (row: number[]) => row.map((id) => id < 0 ? id : id % 41);
const batch = { inputIds: BATCH.inputIds.map(modulo), labels: BATCH.labels.map(modulo) };

const tree: Tree = {
  ...TREES.gpt2,
  name: "GPT-2 in blocks",
  load: () => load("auto"),
  batch,
  tokens: [5, 17, 40],
};

/** Methods that change other weights than matrices. */
const OTHER_WEIGHTS = new Set(["BITFIT", "LN_TUNING"]);

async function load(dtype: "auto" | "float32") {
  const device = await ownDevice();
  return {
    device,
    model: await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(FILE, { device, dtype }),
  };
}

/** The same for GPT-2 in NF4 with quantised scales, and for the numbers that it stands for. */
async function loadNf4(dtype: "auto" | "float32") {
  const device = await ownDevice();
  const fixture = `${FIXTURES}bnb/gpt2`;
  const options = { device, quantization: "nf4", doubleQuant: true } as const;
  const model = await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(fixture, options);
  if (dtype === "auto") return { device, model };
  const folder = memoryFolder();
  await model.savePretrained(folder);
  model.dispose();
  return { device, model: await AutoModelForCausalLM.fromPretrained<GPT2LMHeadModel>(folder, { device }) };
}

/** Logits, losses of two steps and gradients of the first of an adapter that was moved away from its start. */
async function trained(peftModel: PeftModel<GPT2LMHeadModel>) {
  await randomise(peftModel);
  const logits = await logitsOf(peftModel, batch);
  const named = [...peftModel.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
  const optimizer = new AdamW(named.map(([, parameter]) => parameter), { lr: 1e-2 });
  const losses: number[] = [];
  const gradients = new Map<string, Float32Array>();
  for (let step = 0; step < 2; step++) {
    using loss = tidy(() => {
      const { loss } = peftModel.forward(batch);
      loss!.backward();
      return loss!;
    });
    losses.push(await loss.item());
    for (const [name, { grad }] of step === 0 ? named : []) {
      if (grad) gradients.set(name, await grad.data() as Float32Array);
    }
    optimizer.step();
    optimizer.zeroGrad();
  }
  optimizer.dispose();
  return { logits, losses, gradients };
}

/** Bytes of the base's frozen blocks, by the place in the tree. */
async function blocksOf(model: { namedParameters: GPT2LMHeadModel["namedParameters"] }): Promise<string[]> {
  const blocks = [...model.namedParameters()].filter(([, { dtype }]) => isQuantized(dtype));
  const named = { namedParameters: () => blocks[Symbol.iterator]() };
  return [...(await bytesOf(named as unknown as GPT2LMHeadModel)).values()];
}

async function check(method: string, name: string, test: Case, of = load): Promise<void> {
  const [{ model }, reference] = [await of("auto"), await of("float32")];
  const before = await blocksOf(model);
  assertEquals(before.length, of === load ? 5 : 4);
  const peftModel = getPeftModel(model, test.config()).eval();
  const plain = getPeftModel(reference.model, test.config()).eval();
  const [ours, expected] = [await trained(peftModel), await trained(plain)];
  const tolerance = { rtol: 1e-4, atol: 1e-5 }; // sums over a transposed weight have another order
  assertAllClose(ours.logits, expected.logits, tolerance);
  assertAllClose(ours.losses, expected.losses, tolerance);
  assertEquals([...ours.gradients.keys()], [...expected.gradients.keys()]);
  for (const [name, gradient] of expected.gradients) {
    assertAllClose(ours.gradients.get(name)!, gradient, { ...tolerance, label: name });
  }
  assertEquals(await blocksOf(peftModel as unknown as GPT2LMHeadModel), before, "the base keeps every byte");
  plain.dispose();
  const logits = await logitsOf(peftModel, batch);
  if (test.merges && !OTHER_WEIGHTS.has(method)) {
    await assertRejects(() => peftModel.mergeAdapter(), RangeError, "in place: a ");
    assertEquals(await logitsOf(peftModel, batch), logits);
    const merged = await peftModel.mergeAndUnload();
    // A merged position table is bfloat16 again.
    const atol = name === "LoRA on embeddings" ? 2e-3 : 2e-5;
    assertAllClose(await logitsOf(merged, batch), logits, { rtol: 1e-4, atol });
    assert([...merged.parameters()].some(({ dtype }) => dtype === "float32"));
    merged.dispose();
  } else peftModel.dispose();
}

for (const [method, cases] of Object.entries(casesOn(tree))) {
  for (const [name, test] of Object.entries(cases)) {
    Deno.test(`${name} works over blocks as over the numbers that they stand for (${method})`, () =>
      check(method, name, test));
  }
}

for (const name of ["LoRA", "DoRA", "PiSSA", "OLoRA", "LoHa"]) {
  const cases = casesOn(tree);
  const test = cases.LORA[name] ?? cases.LOHA[name];
  Deno.test(`${name} works over NF4 as over the numbers that it stands for`, () =>
    check("LORA", name, test, loadNf4));
}

Deno.test("an adapter over blocks is saved with its base's embeddings as numbers, says so, and loads again", async () => {
  const { model } = await load("auto");
  const config = () => new LoraConfig({ r: 2, targetModules: ["wte", "c_attn"] });
  const peftModel = getPeftModel(model, config()).eval();
  await randomise(peftModel);
  const folder = memoryFolder();
  await peftModel.savePretrained(folder);
  const card = new TextDecoder().decode(folder.files.get("README.md") as Uint8Array);
  assert(
    card.includes("The base was quantised: its weights were stored as q8_0, q4_0, q5_1, q5_0, q4_1."),
    card,
  );
  const logits = await logitsOf(peftModel, batch);
  peftModel.dispose();
  const loaded = await PeftModel.fromPretrained((await load("auto")).model, folder);
  assertEquals(await logitsOf(loaded, batch), logits);
  loaded.dispose();
});

Deno.test("a module with weights of few bits is not trained whole, and the model is as it was", async () => {
  const { model } = await load("auto");
  const names = [...model.namedParameters()].map(([name]) => name);
  assertThrows(
    () =>
      getPeftModel(model, new LoraConfig({ r: 2, targetModules: ["c_attn"], modulesToSave: ["mlp.c_proj"] })),
    RangeError,
    'Cannot train module "transformer.h.0.mlp.c_proj" whole: float32 weights are required, received q4_1',
  );
  assertEquals([...model.namedParameters()].map(([name]) => name), names);
  const peftModel = getPeftModel(
    model,
    new LoraConfig({ r: 2, targetModules: ["c_attn"], modulesToSave: ["ln_f"] }),
  );
  peftModel.dispose();
});

Deno.test("rows of a batch over blocks use adapters of their own", async () => {
  const { model } = await load("auto");
  const config = () => new LoraConfig({ r: 2, targetModules: ["c_attn", "c_fc"] });
  const peftModel = getPeftModel(model, config()).eval();
  peftModel.addAdapter("other", config());
  await randomise(peftModel);
  peftModel.setAdapter("other");
  await randomise(peftModel, 7);
  const alone = [];
  for (const name of ["default", "other"]) {
    peftModel.setAdapter(name);
    alone.push(await logitsOf(peftModel, batch));
  }
  const row = alone[0].length / 2;
  using output = noGrad(() =>
    peftModel.forward({ inputIds: batch.inputIds, adapterNames: ["other", "default"] })
  ) as ReturnType<GPT2LMHeadModel["forward"]>;
  const mixed = await output.logits.data() as Float32Array;
  assertAllClose(mixed.subarray(0, row), alone[1].subarray(0, row), { rtol: 0, atol: 1e-5 });
  assertAllClose(mixed.subarray(row), alone[0].subarray(row), { rtol: 0, atol: 1e-5 });
  peftModel.dispose();
});
