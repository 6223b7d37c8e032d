import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  getPeftModel,
  initializeLoraEvaWeights,
  LoraConfig,
  type LoraLayer,
  PeftModel,
} from "../../peft/mod.ts";
import { AutoModelForCausalLM, type CausalLM } from "../../model/mod.ts";
import { FIXTURES, ownDevice } from "../reference/fixtures.ts";
import { BATCH, bytesOf, logitsOf, randomise, tinyModel, trainedNames, withFolder } from "./tiny_model.ts";

interface Expected {
  fields: { r: number; lora_alpha: number; target_modules: string[]; use_rslora?: boolean };
  eva: { whiten?: boolean; rho?: number; adjust_scaling_factors?: boolean };
  input_ids: number[][];
  attention_mask: number[][];
  labels: number[][];
  exact: Record<string, { ratios: number[]; components: number[][]; values: number[] }>;
  target_modules: string[];
  rank_pattern: Record<string, number>;
  alpha_pattern: Record<string, number>;
  scaling: Record<string, number>;
  lora_A: Record<string, number[][]>;
}

async function fixture(name: string) {
  const json: Expected = JSON.parse(await Deno.readTextFile(`${FIXTURES}eva/${name}.json`));
  const { fields, eva } = json;
  const config = new LoraConfig({
    r: fields.r,
    loraAlpha: fields.lora_alpha,
    targetModules: fields.target_modules,
    useRslora: fields.use_rslora ?? false,
    initLoraWeights: "eva",
    evaConfig: {
      whiten: eva.whiten,
      rho: eva.rho ?? 2,
      adjustScalingFactors: eva.adjust_scaling_factors ?? true,
    },
  });
  const { inputIds, attentionMask, labels } = {
    inputIds: json.input_ids,
    attentionMask: json.attention_mask,
    labels: json.labels,
  };
  return { json, config, batch: { inputIds, attentionMask, labels } };
}

const cosine = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) [ab, aa, bb] = [ab + a[i] * b[i], aa + a[i] ** 2, bb + b[i] ** 2];
  return Math.abs(ab) / Math.sqrt(aa * bb);
};

for (const name of ["plain", "whitened", "llama"]) {
  for (const split of [false, true]) {
    const how = split ? "in batches of one" : "in one batch";
    Deno.test(`initializeLoraEvaWeights() finds peft's ranks and the exact components: ${name}, ${how}`, async () => {
      const { json, config, batch } = await fixture(name);
      const device = await ownDevice();
      const folder = FIXTURES + (name === "llama" ? "llama/llama" : "gpt2_tiny");
      const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { device });
      const peftModel = getPeftModel(model, config);
      const logits = () => logitsOf(peftModel, { inputIds: batch.inputIds });
      const [before, trains] = [(peftModel.eval(), await logits()), trainedNames(peftModel)];
      const live = device.memory.liveBytes;
      const batches = split
        ? batch.inputIds.map((_, i) => ({
          inputIds: [batch.inputIds[i]],
          attentionMask: [batch.attentionMask[i]],
          labels: [batch.labels[i]],
        }))
        : [batch];
      await initializeLoraEvaWeights(peftModel as PeftModel, batches);
      const made = peftModel.peftConfig.default as LoraConfig;
      assertEquals([...made.targetModules!].sort(), json.target_modules);
      assertEquals(made.rankPattern, json.rank_pattern);
      assertEquals(made.alphaPattern, json.alpha_pattern);
      assertEquals(trainedNames(peftModel), trains);
      if (name === "whitened") {
        assertEquals(device.memory.liveBytes, live, "ranks stayed, nothing else is kept");
      }
      for (const [path, { components, values }] of Object.entries(json.exact)) {
        const layer = model.getSubmodule(path) as LoraLayer;
        assertEquals(layer.scaling.get("default"), json.scaling[path]);
        const { weight } = layer.lora_A.get("default")!;
        const A = await weight.data();
        const [rank, width] = weight.shape;
        const theirs = json.lora_A[`base_model.model.${path}.lora_A.default.weight`];
        for (let k = 0; k < rank; k++) {
          const row = A.slice(k * width, (k + 1) * width);
          assert(cosine(row, components[k]) > 1 - 1e-5, `${path} ${k}: ${cosine(row, components[k])}`);
          assert(cosine(row, theirs[k]) > 0.99, `${path} ${k} of peft: ${cosine(row, theirs[k])}`);
          const length = Math.sqrt((row as Float32Array).reduce((sum, v) => sum + v * v, 0));
          const wanted = config.evaConfig!.whiten ? 1 / Math.sqrt(values[k]) : 1;
          assertAllClose([length], [wanted], { rtol: 1e-3, atol: 0 });
        }
      }
      assertAllClose(await logits(), before, { rtol: 0, atol: 1e-6 });
      peftModel.dispose();
    });
  }
}

Deno.test("an EVA adapter is saved with its ranks and options, and loads to the same logits", async () => {
  const { config, batch } = await fixture("plain");
  const { model } = await tinyModel();
  const peftModel = getPeftModel(model, config).eval();
  await initializeLoraEvaWeights(peftModel as PeftModel, [batch]);
  await randomise(peftModel);
  const logits = await logitsOf(peftModel);
  await withFolder(async (folder) => {
    await peftModel.savePretrained(folder);
    const json = JSON.parse(await Deno.readTextFile(`${folder}/adapter_config.json`));
    assertEquals(json.init_lora_weights, "eva");
    assertEquals(json.eva_config, {
      adjust_scaling_factors: true,
      label_mask_value: -100,
      rho: 2,
      tau: 0.99,
      use_label_mask: true,
      whiten: false,
    });
    const { model } = await tinyModel();
    const loaded = await PeftModel.fromPretrained(model, folder);
    assertEquals(await logitsOf(loaded), logits);
    loaded.dispose();
  });
  peftModel.dispose();
});

Deno.test("initializeLoraEvaWeights() lets layers without a component go, their base to the byte", async () => {
  const { model } = await tinyModel();
  const baseBytes = await bytesOf(model);
  // One component for three layers at most three times its rank: one layer takes them all, or two.
  const config = new LoraConfig({ r: 1, loraAlpha: 2, initLoraWeights: "eva", evaConfig: { rho: 3 } });
  const peftModel = getPeftModel(model, config);
  await initializeLoraEvaWeights(peftModel as PeftModel, [BATCH]);
  const { rankPattern, targetModules } = peftModel.peftConfig.default as LoraConfig;
  const ranks = (targetModules as string[]).map((path) => rankPattern[path] ?? 1);
  assertEquals(ranks.reduce((sum, rank) => sum + rank, 0), 3);
  assertEquals((targetModules as string[]).length, trainedNames(peftModel).length / 2);
  peftModel.unload();
  assertEquals(await bytesOf(model), baseBytes);
  model.dispose();
});

Deno.test("initializeLoraEvaWeights() refuses other adapters and too few tokens, and changes nothing then", async () => {
  const { model } = await tinyModel();
  const plain = getPeftModel(model, new LoraConfig());
  await assertRejects(
    () => initializeLoraEvaWeights(plain as PeftModel, [BATCH]),
    TypeError,
    'Cannot initialize adapter "default" with EVA: a LoRA adapter with initLoraWeights "eva" is required',
  );
  plain.addAdapter("eva", new LoraConfig({ r: 16, initLoraWeights: "eva" }));
  const before = await bytesOf(plain);
  await assertRejects(
    () => initializeLoraEvaWeights(plain as PeftModel, [BATCH], { adapterName: "eva" }),
    RangeError,
    "at least 32 tokens that are not masked are required, received 14",
  );
  assertEquals(await bytesOf(plain), before);
  plain.dispose();
});

Deno.test("new LoraConfig() has EVA's defaults where EVA is asked for, and refuses wrong options", () => {
  assertEquals(new LoraConfig().evaConfig, null);
  const config = new LoraConfig({ initLoraWeights: "eva", evaConfig: { rho: 1 } });
  assertEquals(config.evaConfig!.tau, 0.99);
  assertEquals(LoraConfig.fromJSON(config.toJSON()), config);
  assertEquals(new LoraConfig({ initLoraWeights: "eva" }).evaConfig!.rho, 2);
  const bad: [Record<string, unknown>, string][] = [
    [{ rho: 0.5 }, "eva_config: rho must be a number of at least 1, received 0.5"],
    [{ tau: 2 }, "eva_config: tau must be a number from 0 to 1, received 2"],
    [{ whiten: 1 }, "eva_config: whiten must be true or false, received 1"],
    [{ useLabelMask: "no" }, "eva_config: use_label_mask must be true or false"],
    [{ adjustScalingFactors: 0 }, "eva_config: adjust_scaling_factors must be true or false, received 0"],
    [{ labelMaskValue: "x" }, "eva_config: label_mask_value must be a finite number"],
    [{ ro: 2 }, "eva_config: the options are rho, tau"],
  ];
  for (const [evaConfig, message] of bad) {
    assertThrows(() => new LoraConfig({ initLoraWeights: "eva", evaConfig }), RangeError, message);
  }
  assertThrows(
    () => LoraConfig.fromJSON({ peft_type: "LORA", eva_config: [] }),
    RangeError,
    "eva_config: a table of options is required, received []",
  );
});
