import { assert, assertAllClose, assertEquals } from "@std/assert";
import { noGrad } from "../../../autograd/mod.ts";
import { GPT2LMHeadModel } from "../../../model/mod.ts";
import {
  assertGradients,
  assertNear,
  expectedOf,
  FIXTURES,
  loadFixture,
  ownDevice,
} from "../../reference/fixtures.ts";

interface Json {
  input_ids: number[][];
  labels: number[][];
  loss: number;
  config?: Record<string, unknown>;
}

/** Folders with an `expected.json` below a folder of the fixtures. */
function casesOf(folder: string): string[] {
  return [...Deno.readDirSync(FIXTURES + folder)].map((entry) => `${folder}/${entry.name}`).sort();
}

const variants = casesOf("gpt2_variants");
assertEquals(variants.length, 12);

for (const folder of variants) {
  Deno.test(`GPT2LMHeadModel with ${folder} gives transformers' logits, loss and gradients`, async () => {
    const { json, ...expected } = await expectedOf<Json>(folder);
    const device = await ownDevice();
    const model = await loadFixture(folder, { device });
    const config = model.config.toJSON();
    for (const [name, value] of Object.entries(json.config!)) assertEquals(config[name], value, name);
    const output = model.forward({ inputIds: json.input_ids, labels: json.labels });
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    output.loss!.backward();
    await assertGradients(model.namedParameters(), { json, ...expected });
    output.dispose();
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });
}

const layouts = casesOf("gpt2_layouts");
assertEquals(layouts.length, 5);

for (const folder of layouts) {
  Deno.test(`GPT2LMHeadModel.load() reads ${folder}`, async () => {
    const { json, ...expected } = await expectedOf<Json>(folder);
    const model = await loadFixture(folder);
    using output = noGrad(() => model.forward({ inputIds: json.input_ids, labels: json.labels }));
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    assert([...model.parameters()].every((p) => p.dtype === "float32" && p.requiresGrad));
    assertEquals([...model.namedParameters()][0][0], "transformer.wte.weight");
    model.dispose();
  });
}

Deno.test("load() with float16 weights computes what the rounded float32 weights do, in half the memory", async () => {
  // The file of this fixture holds halves, so storing them as halves changes nothing.
  const { json, ...expected } = await expectedOf<Json>("gpt2_layouts/float16");
  const device = await ownDevice();
  const model = await loadFixture("gpt2_layouts/float16", { device, dtype: "float16" });
  const dtypes = [...model.namedParameters()].map(([name, p]) => [name, p.dtype, p.requiresGrad] as const);
  for (const [name, dtype, requiresGrad] of dtypes) {
    const matrix = /\.(wte|wpe|c_attn|c_proj|c_fc)\.weight$/.test(name);
    assertEquals([dtype, requiresGrad], matrix ? ["float16", false] : ["float32", true], name);
  }
  const output = model.forward({ inputIds: json.input_ids, labels: json.labels });
  await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
  assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
  output.loss!.backward();
  const float = await loadFixture("gpt2_layouts/float16", { device });
  using same = float.forward({ inputIds: json.input_ids, labels: json.labels });
  same.loss!.backward();
  for (const [name, parameter] of model.namedParameters()) {
    if (!parameter.requiresGrad) {
      assertEquals(parameter.grad, null, `${name} is frozen`);
      continue;
    }
    const whole = await float.stateDict().get(name)!.grad!.data();
    assertAllClose(await parameter.grad!.data(), whole, { rtol: 1e-4, atol: 1e-6, label: name });
  }
  output.dispose();
  same.dispose();
  float.dispose();
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("load() rounds float32 files to float16 weights, which savePretrained() writes as F16", async () => {
  const device = await ownDevice();
  const model = await loadFixture("gpt2_tiny", { device, dtype: "float16" });
  const whole = await loadFixture("gpt2_tiny", { device });
  const inputIds = [[1, 2, 3, 4, 5, 250]];
  using output = noGrad(() => model.forward({ inputIds }));
  using exact = noGrad(() => whole.forward({ inputIds }));
  const logits = await exact.logits.data();
  await assertNear(output.logits, logits, 2e-2, "logits of rounded weights");
  assert((await output.logits.data()).some((v: number, i: number) => v !== logits[i]), "weights are rounded");
  const folder = await Deno.makeTempDir();
  try {
    await model.savePretrained(folder);
    const again = await GPT2LMHeadModel.load(folder, { device, dtype: "float16" });
    using same = noGrad(() => again.forward({ inputIds }));
    assertEquals(await same.logits.data(), await output.logits.data());
    again.dispose();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  model.dispose();
  whole.dispose();
});
