/**
 * Bottleneck adapters against what AdapterHub's `adapters` computes and writes.
 * @module
 */
import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { BottleneckConfig, getPeftModel, PeftModel } from "../../peft/mod.ts";
import { hubFormat } from "../../peft/bottleneck/bottleneck_format.ts";
import { readAdapterConfig } from "../../peft/files/adapter_files.ts";
import { expectedOf, FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { assertGradients, assertNear } from "../reference/fixtures.ts";
import { loadBase } from "./adapter_fixture.ts";
import { assertTenLosses } from "./ten_losses.ts";
import { bytesOf, logitsOf, randomise, tinyModel, warningsOf, withFolder } from "./tiny_model.ts";

/** `expected.json` of a fixture. */
interface Json {
  input_ids: number[][];
  labels: number[][];
  loss: number;
  trainable: number;
  adamw: { lr: number; weight_decay: number; betas: [number, number]; eps: number; losses: number[] };
  greedy: number[][];
}

const cases = [...Deno.readDirSync(`${FIXTURES}bottleneck`)].map((entry) => entry.name).sort();
assertEquals(cases.length, 19);

/** The base under the adapter of a fixture, named as there. */
async function loaded(name: string) {
  const base = await loadBase(`bottleneck/${name}`, await ownDevice());
  const options = { isTrainable: true, adapterName: "pirate" };
  return (await PeftModel.fromPretrained(base, `${FIXTURES}bottleneck/${name}`, options)).eval();
}

/** Parameters by the names AdapterHub gives them. */
function hubNames(model: PeftModel) {
  return [...model.namedParameters()].map(([path, parameter]) =>
    [hubFormat.toDisk(path.replace(".adapters.pirate", ""), "pirate"), parameter] as [
      string,
      typeof parameter,
    ]
  );
}

for (const name of cases) {
  const folder = `${FIXTURES}bottleneck/${name}`;

  Deno.test(`PeftModel with bottleneck/${name} has AdapterHub's logits, loss, gradients, tokens and files`, async () => {
    const { json, ...expected } = await expectedOf<Json>(`bottleneck/${name}`);
    const model = await loaded(name);
    assertEquals(model.getNbTrainableParameters()[0], json.trainable);
    const output = model.forward({ inputIds: json.input_ids, labels: json.labels });
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    output.loss!.backward();
    await assertGradients(hubNames(model), { json, ...expected });
    output.dispose();
    const greedy = { maxNewTokens: 10, eosTokenId: null };
    assertEquals(await model.generate([json.input_ids[0].slice(0, 5)], greedy), json.greedy);
    await withFolder(async (target) => {
      await model.savePretrained(target, { selectedAdapters: ["pirate"] });
      const own = `${target}/pirate`;
      const file = (path: string) => Deno.readFile(`${path}/adapter.safetensors`);
      assertEquals(await file(own), await file(folder), "byte for byte AdapterHub's tensors");
      const config = async (path: string) =>
        JSON.parse(await Deno.readTextFile(`${path}/adapter_config.json`));
      assertEquals(await config(own), await config(folder));
    });
    model.dispose();
  });

  Deno.test(`AdamW on bottleneck/${name} has PyTorch's ten losses`, async () => {
    const { json } = await expectedOf<Json>(`bottleneck/${name}`);
    const model = await loaded(name);
    await assertTenLosses(model, json);
    model.dispose();
  });
}

Deno.test("BottleneckConfig.named() gives AdapterHub's configurations and their older names", async () => {
  const file = JSON.parse(await Deno.readTextFile(`${FIXTURES}bottleneck/seq_bn/adapter_config.json`));
  assertEquals(BottleneckConfig.named("seq_bn").toJSON().config, file.config);
  const double = JSON.parse(
    await Deno.readTextFile(`${FIXTURES}bottleneck/double_seq_bn/adapter_config.json`),
  );
  assertEquals(BottleneckConfig.named("houlsby").toJSON().config, double.config);
  const parallel = JSON.parse(await Deno.readTextFile(`${FIXTURES}bottleneck/par_bn/adapter_config.json`));
  assertEquals(BottleneckConfig.named("parallel", { reductionFactor: 6 }).toJSON().config, parallel.config);
  assertEquals(BottleneckConfig.named("scaled_parallel").scaling, "learned");
  assertThrows(
    () => BottleneckConfig.named("compacter"),
    RangeError,
    "names are seq_bn, double_seq_bn, par_bn",
  );
});

Deno.test("BottleneckConfig initWeights follows the laws of bert, mam_adapter and houlsby", async () => {
  for (const initWeights of ["bert", "mam_adapter", "houlsby"] as const) {
    const { model } = await tinyModel();
    const base = await logitsOf(model);
    const peftModel = getPeftModel(model, new BottleneckConfig({ reductionFactor: 2, initWeights })).eval();
    const values = new Map<string, Float32Array>();
    for (const [path, parameter] of peftModel.namedParameters()) {
      if (parameter.requiresGrad) values.set(path, await parameter.data() as Float32Array);
    }
    const of = (part: string) =>
      [...values].filter(([path]) => path.endsWith(part)).flatMap(([, v]) => [...v]);
    const deviation = (v: number[]) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0) / v.length);
    const [down, up] = [of("adapter_down.0.weight"), of("adapter_up.weight")];
    assertEquals([down.length, up.length], [3 * 24 * 48, 3 * 24 * 48]);
    assert(of(".bias").every((x) => x === 0));
    const bound = 1 / Math.sqrt(48);
    // 3,456 numbers: their deviation is within 5 % of the law's (four standard errors of 1.2 %)
    if (initWeights === "mam_adapter") {
      assert(down.every((x) => Math.abs(x) <= bound) && up.every((x) => x === 0));
      assertAllClose([deviation(down)], [bound / Math.sqrt(3)], { rtol: 0.05, atol: 0 });
      assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-5, label: "starts as the base" });
    } else {
      // a normal cut at two deviations has 0.8796 of its deviation
      const std = initWeights === "bert" ? 0.02 : 0.01 * 0.8796;
      assertAllClose([deviation(down), deviation(up)], [std, std], { rtol: 0.05, atol: 0 });
      assertEquals([...down, ...up].every((x) => Math.abs(x) <= 0.02), initWeights === "houlsby");
    }
    peftModel.dispose();
  }
});

Deno.test("BottleneckConfig initWeightsSeed gives every block the same start, null each its own", async () => {
  for (const [initWeightsSeed, equal] of [[7, true], [null, false]] as const) {
    const { model } = await tinyModel();
    const peftModel = getPeftModel(model, new BottleneckConfig({ initWeightsSeed }));
    const bytes = await bytesOf(peftModel);
    const of = (block: number) =>
      bytes.get(`base_model.model.transformer.h.${block}.mlp.adapters.default.adapter_down.0.weight`);
    assert(of(0) !== undefined);
    assertEquals(of(0) === of(1), equal);
    peftModel.dispose();
  }
});

Deno.test("several active bottleneck adapters act one after the other", async () => {
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, BottleneckConfig.named("houlsby"), "a").eval();
  await randomise(peftModel);
  const alone = await logitsOf(peftModel);
  peftModel.addAdapter("b", BottleneckConfig.named("seq_bn", { initWeights: "mam_adapter" }));
  peftModel.setAdapter(["a", "b"]);
  assertAllClose(await logitsOf(peftModel), alone, {
    rtol: 0,
    atol: 1e-5,
    label: "b starts as the identity",
  });
  peftModel.setAdapter("b");
  await randomise(peftModel, 5);
  peftModel.setAdapter(["a", "b"]);
  const both = await logitsOf(peftModel);
  assert(both.some((value, i) => Math.abs(value - alone[i]) > 1e-3));
  peftModel.dispose();
});

Deno.test("a bottleneck adapter loads under another name, and from a model without a head", async () => {
  const model = await loaded("seq_bn");
  const logits = await logitsOf(model);
  model.dispose();
  const { model: base } = await tinyModel();
  const other = await PeftModel.fromPretrained(base, `${FIXTURES}bottleneck/seq_bn`, { adapterName: "x" });
  assertEquals(await logitsOf(other), logits);
  other.dispose();
  const config = await readAdapterConfig(`${FIXTURES}bottleneck/seq_bn`);
  assertEquals(
    hubFormat.fromDisk("h.1.output_adapters.adapters.pirate.adapter_up.bias", config),
    "base_model.model.transformer.h.1.mlp.adapter_up.bias",
  );
});

Deno.test("bottleneck adapters refuse what is not here or does not fit, and leave the model as it was", async () => {
  const refused: [ConstructorParameters<typeof BottleneckConfig>[0], string][] = [
    [{ outputAdapter: false }, "mh_adapter or output_adapter must be true, received false for both"],
    [{ reductionFactor: 0 }, "reduction_factor must be a number above 0, received 0"],
    [{ reductionFactor: { default: -1 } }, "reduction_factor must be a number above 0, received -1"],
    [{ nonLinearity: "sine" }, "non_linearity must be one of gelu, "],
    [{ initWeights: "zero" as never }, 'Unknown init_weights type: "zero"'],
    [{ scaling: "row" as never }, 'Unknown scaling type: "row"'],
    [{ residualBeforeLn: "post_add" as never }, "residual_before_ln must be true or false"],
    [{ lnBefore: 1 as never }, "ln_before must be true or false, received 1"],
    [{ dropout: 1.5 }, "dropout must be a number from 0 to 1, received 1.5"],
    [{ leaveOut: [-1] }, "leave_out must be a number from 0"],
    [{ r: 8 } as never, "fields are taskType, "],
  ];
  for (const [fields, message] of refused) {
    assertThrows(() => new BottleneckConfig(fields), RangeError, `Cannot configure bottleneck: ${message}`);
  }
  const file = BottleneckConfig.named("seq_bn").toJSON();
  const changed = (field: Record<string, unknown>) => ({
    ...file,
    config: { ...file.config as object, ...field },
  });
  for (const [name, value] of Object.entries({ use_gating: true, phm_layer: true, inv_adapter: "nice" })) {
    assertThrows(
      () => BottleneckConfig.fromJSON(changed({ [name]: value })),
      RangeError,
      `${name} is not supported, received ${JSON.stringify(value)}`,
    );
  }
  assertThrows(
    () => BottleneckConfig.fromJSON(changed({ architecture: "prefix_tuning" })),
    RangeError,
    'architecture "prefix_tuning" is not a bottleneck adapter\'s',
  );
  assertThrows(
    () => BottleneckConfig.fromJSON({ config: {} }),
    RangeError,
    "mh_adapter is required in the file",
  );
  assertEquals(await warningsOf(() => BottleneckConfig.fromJSON(changed({ new_field: 1 }))), [
    "Unexpected fields [new_field] in the bottleneck configuration are ignored.",
  ]);

  const { model } = await tinyModel();
  const [names, bytes] = [[...model.namedModules()].map(([path]) => path), await bytesOf(model)];
  assertThrows(
    () => getPeftModel(model, new BottleneckConfig({ reductionFactor: { 0: 4, 1: 4 } })),
    RangeError,
    'reduction_factor must name block 2 or a "default", received 0, 1',
  );
  assertEquals([...model.namedModules()].map(([path]) => path), names);
  assertThrows(
    () => getPeftModel(model, new BottleneckConfig({ leaveOut: [0, 1, 2] })),
    TypeError,
    "is excluded by excludeModules",
  );
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/adapter_config.json`, JSON.stringify(file));
    await Deno.writeTextFile(`${folder}/pytorch_adapter.bin`, "");
    await assertRejects(
      () => PeftModel.fromPretrained(model, folder),
      Error,
      "adapter.safetensors is required, received pytorch_adapter.bin, a pickle file, which is never opened",
    );
  });
  assertEquals(await bytesOf(model), bytes);
  model.dispose();
});

Deno.test("bottleneck adapters on Gemma 3 must leave the stream to the block, which adds it after a norm of its own", async () => {
  const base = await loadBase("bottleneck/gemma3_seq_bn", await ownDevice());
  assertThrows(
    () => getPeftModel(base, new BottleneckConfig({ originalLnAfter: false })),
    RangeError,
    "Cannot apply bottleneck: original_ln_after must be true for gemma3_text",
  );
  base.dispose();
});

Deno.test("several bottleneck adapters on Gemma 3 act one after the other", async () => {
  const base = await loadBase("bottleneck/gemma3_seq_bn", await ownDevice());
  const model = getPeftModel(base, BottleneckConfig.named("seq_bn", { reductionFactor: 4 }), "a").eval();
  await randomise(model);
  model.addAdapter("b", BottleneckConfig.named("double_seq_bn", { reductionFactor: 8 }));
  model.setAdapter("b");
  await randomise(model, 5);
  const batch = { inputIds: [[1, 2, 3, 4]] };
  const seen = new Map<string, Float32Array>();
  for (const active of [["a"], ["b"], ["a", "b"], ["b", "a"]]) {
    model.setAdapter(active);
    seen.set(`${active}`, await logitsOf(model, batch) as Float32Array);
  }
  const apart = (one: string, other: string) =>
    Math.max(...seen.get(one)!.map((value, i) => Math.abs(value - seen.get(other)![i])));
  for (const [one, other] of [["a,b", "a"], ["a,b", "b"], ["a,b", "b,a"]]) {
    assert(apart(one, other) > 1e-4, `${one} and ${other}: ${apart(one, other)}`);
  }
  model.dispose();
});

Deno.test("bottleneck adapters need a model whose parts are known", async () => {
  const { model } = await tinyModel();
  Object.defineProperty(model.config, "modelType", { value: "other" });
  assertThrows(
    () => getPeftModel(model, new BottleneckConfig()),
    TypeError,
    'a model whose parts are known ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "smollm3") is required, received other',
  );
  model.dispose();
});
