import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Tensor } from "../../autograd/mod.ts";
import type { Conv1D } from "../../nn/mod.ts";
import {
  getPeftModel,
  LoraConfig,
  type LoraConfigFields,
  type LoraLayer,
  PeftModel,
} from "../../peft/mod.ts";
import type { LoraEmbedding } from "../../peft/mod.ts";
import { columnNorms } from "../../peft/lora/dora.ts";
import { upperTriangle } from "../reference/svd.ts";
import { BATCH, bytesOf, logitsOf, randomise, tinyModel, withFolder } from "./tiny_model.ts";

/** The tiny model under LoRA, in eval mode. */
async function adapted(fields: Partial<LoraConfigFields>, seed = 0) {
  const { device, model } = await tinyModel();
  const [base, baseBytes] = [await logitsOf(model), await bytesOf(model)];
  const config = new LoraConfig({ r: 4, loraAlpha: 8, ...fields });
  const peftModel = getPeftModel(model, config, "default", { seed }).eval();
  const layer = model.transformer.h[0].attn.c_attn as unknown as LoraLayer;
  return { device, model, base, baseBytes, peftModel, layer };
}

const numbers = async (tensor: Tensor) => await tensor.data() as Float32Array<ArrayBuffer>;
const deviation = (x: Float32Array) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

/** b [m, k] times a [k, n], in float64. */
function product(b: ArrayLike<number>, a: ArrayLike<number>, m: number, k: number, n: number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += b[Math.floor(at / n) * k + i] * a[i * n + at % n];
    return sum;
  });
}

/** A and B of the first layer. */
async function factors(layer: LoraLayer) {
  const [A, B] = [layer.lora_A.get("default")!.weight, layer.lora_B.get("default")!.weight];
  return { A: await numbers(A), B: await numbers(B) };
}

Deno.test("LoRA on embeddings starts as the base: A is zero, B normal; with initLoraWeights false both are normal", async () => {
  const { peftModel, base, model } = await adapted({ r: 64, targetModules: ["wte", "wpe"] });
  const wte = model.transformer.wte as unknown as LoraEmbedding;
  const [A, B] = [wte.lora_embedding_A.get("default")!, wte.lora_embedding_B.get("default")!];
  assertEquals([A.shape, B.shape], [[64, 257], [48, 64]]);
  assert((await numbers(A)).every((v) => v === 0));
  assert(Math.abs(deviation(await numbers(B)) - 1) < 0.05);
  assertEquals(await logitsOf(peftModel), base);
  peftModel.dispose();
  const other = await adapted({ r: 64, targetModules: ["wte"], initLoraWeights: false });
  const loose = other.model.transformer.wte as unknown as LoraEmbedding;
  assert(Math.abs(deviation(await numbers(loose.lora_embedding_A.get("default")!)) - 1) < 0.05);
  assert((await logitsOf(other.peftModel)).some((v, i) => Math.abs(v - other.base[i]) > 0.1));
  other.peftModel.dispose();
});

Deno.test("LoRA on wte or the tied head merges without touching the other, unmerges and disables bit for bit", async () => {
  for (const targetModules of [["wte"], ["lm_head"], ["wte", "lm_head", "c_attn"]]) {
    for (const useDora of [false, true]) {
      const { peftModel, base, baseBytes, model } = await adapted({ targetModules, useDora });
      await randomise(peftModel);
      const separate = await logitsOf(peftModel);
      assert(separate.some((v, i) => Math.abs(v - base[i]) > 0.1));
      assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
      await peftModel.mergeAdapter({ safeMerge: true });
      assertAllClose(await logitsOf(peftModel), separate, { rtol: 0, atol: 2e-5 });
      peftModel.unmergeAdapter();
      assertEquals(await logitsOf(peftModel), separate);
      peftModel.unload();
      assertEquals(await bytesOf(model), baseBytes);
      assert(model.lm_head.headWeight() === model.transformer.wte.weight, "tied as before");
      model.dispose();
    }
  }
});

Deno.test("an adapted head has one loss, fused or from logits", async () => {
  const { peftModel, model } = await adapted({ targetModules: ["lm_head"] });
  await randomise(peftModel);
  const fused = peftModel.forward(BATCH);
  const head = model.lm_head;
  assert(head.headWeight() !== null);
  Object.defineProperty(head, "headWeight", { value: () => null, configurable: true });
  const plain = peftModel.forward(BATCH);
  assertAllClose([await fused.loss!.item()], [await plain.loss!.item()], { rtol: 1e-6, atol: 0 });
  fused.dispose();
  plain.dispose();
  peftModel.dispose();
});

Deno.test('initLoraWeights "orthogonal" starts as the base with A and B that are not zero: B A is', async () => {
  const { peftModel, base, layer } = await adapted({ initLoraWeights: "orthogonal" });
  const { A, B } = await factors(layer);
  assert(deviation(A) > 0.04 && deviation(B) > 0.04, `${deviation(A)} ${deviation(B)}`); // sqrt(r/2 / r) / 10 = 0.07
  assert(deviation(A) < 0.1 && deviation(B) < 0.1);
  const BA = product(B, A, 144, 4, 48);
  assert(BA.every((v) => Math.abs(v) < 1e-7));
  assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 2e-6 });
  peftModel.dispose();
});

Deno.test("PiSSA and OLoRA start as the base to rounding; the base keeps every byte, also after training and unload", async () => {
  for (const initLoraWeights of ["pissa", "pissa_niter_8", "olora"] as const) {
    for (const useRslora of [false, true]) {
      const { peftModel, base, baseBytes, model, layer } = await adapted({ initLoraWeights, useRslora });
      const { A, B } = await factors(layer);
      assert(deviation(product(B, A, 144, 4, 48) as unknown as Float32Array) > 0.01);
      assertAllClose(await logitsOf(peftModel), base, { rtol: 0, atol: 1e-5 });
      await randomise(peftModel);
      const separate = await logitsOf(peftModel);
      assertEquals(await peftModel.disableAdapter(() => logitsOf(peftModel)), base);
      await peftModel.mergeAdapter();
      assertAllClose(await logitsOf(peftModel), separate, { rtol: 0, atol: 2e-5 });
      peftModel.unload();
      assertEquals(await bytesOf(model), baseBytes);
      model.dispose();
    }
  }
});

Deno.test("OLoRA takes the first columns of Q and rows of R of the weight [out, in], in LAPACK's signs", async () => {
  const { model } = await tinyModel();
  const weight = await numbers((model.transformer.h[0].attn.c_attn as Conv1D).weight); // [48, 144]
  const W = Float64Array.from({ length: 144 * 48 }, (_, i) => weight[i % 48 * 144 + Math.floor(i / 48)]);
  const R = upperTriangle(W, 144, 48);
  const peftModel = getPeftModel(model, new LoraConfig({ r: 4, loraAlpha: 8, initLoraWeights: "olora" }));
  const { A, B } = await factors(model.transformer.h[0].attn.c_attn as unknown as LoraLayer);
  assertAllClose(A, R.slice(0, 4 * 48), { rtol: 0, atol: 2e-6 });
  // W = Q R, and the first four columns of W need the first four of Q alone
  const head = product(B, A.map((v, i) => i % 48 < 4 ? v : 0), 144, 4, 48);
  const first = W.map((v, i) => i % 48 < 4 ? v : 0);
  assertAllClose(head, first, { rtol: 0, atol: 1e-6 });
  peftModel.dispose();
});

Deno.test("pissa_niter_N comes near pissa: the same change of the weight", async () => {
  const exact = await adapted({ initLoraWeights: "pissa", r: 3 });
  const near = await adapted({ initLoraWeights: "pissa_niter_60", r: 3 });
  const [p, q] = [await factors(exact.layer), await factors(near.layer)];
  assertAllClose(product(q.B, q.A, 144, 3, 48), product(p.B, p.A, 144, 3, 48), { rtol: 0, atol: 0.02 });
  for (const { peftModel } of [exact, near]) peftModel.dispose();
});

Deno.test("dropout of a PiSSA adapter falls on what trains alone", async () => {
  // A dropout that drops nothing: the way through dropout must give what the way without gives.
  for (const useDora of [false, true]) {
    const { peftModel } = await adapted({ initLoraWeights: "pissa", loraDropout: 1e-9, useDora });
    await randomise(peftModel);
    const still = await logitsOf(peftModel);
    peftModel.train();
    for (const [, module] of peftModel.namedModules()) {
      if (module.constructor.name === "Dropout" && (module as unknown as { p: number }).p > 1e-6) {
        module.eval();
      }
    }
    assertAllClose(await logitsOf(peftModel), still, { rtol: 0, atol: 5e-6 });
    peftModel.dispose();
  }
});

Deno.test("loraBias starts at zero, with initLoraWeights false it does not; merging into a layer without bias is refused", async () => {
  const biasOf = ({ layer }: { layer: LoraLayer }) => numbers(layer.lora_B.get("default")!.bias!);
  const zero = await adapted({ loraBias: true });
  assert((await biasOf(zero)).every((v) => v === 0));
  assertAllClose(await logitsOf(zero.peftModel), zero.base, { rtol: 0, atol: 1e-6 });
  zero.peftModel.dispose();
  const loose = await adapted({ loraBias: true, initLoraWeights: false });
  const values = await biasOf(loose);
  assert(values.every((v) => Math.abs(v) <= 0.5) && deviation(values) > 0.2);
  loose.peftModel.dispose();
  const { peftModel, baseBytes, model } = await adapted({
    loraBias: true,
    targetModules: ["c_attn", "lm_head"],
  });
  await randomise(peftModel);
  const logits = await logitsOf(peftModel);
  await assertRejects(
    () => peftModel.mergeAdapter(),
    RangeError,
    'Cannot merge adapter "default": Impossible to merge LoRA with `lora_bias=True` because the base layer has no bias ("lm_head")',
  );
  assertEquals(await logitsOf(peftModel), logits);
  peftModel.unload();
  assertEquals(await bytesOf(model), baseBytes);
  model.dispose();
});

Deno.test("the base's weight of a targeted head is written with the adapter, and can be left out", async () => {
  const { peftModel } = await adapted({ targetModules: ["lm_head", "wte"] });
  await randomise(peftModel);
  const logits = await logitsOf(peftModel);
  for (const saveEmbeddingLayers of ["auto", false] as const) {
    await withFolder(async (folder) => {
      await peftModel.savePretrained(folder, { saveEmbeddingLayers });
      const { size } = await Deno.stat(`${folder}/adapter_model.safetensors`);
      assertEquals(size > 2 * 257 * 48 * 4, saveEmbeddingLayers === "auto");
      const { model } = await tinyModel();
      const loaded = await PeftModel.fromPretrained(model, folder);
      assertEquals(await logitsOf(loaded), logits);
      loaded.dispose();
    });
  }
  peftModel.dispose();
});

/** Configurations that are refused before the model is touched. */
const BAD: [Record<string, unknown>, string][] = [
  [
    { initLoraWeights: "orthogonal", r: 3 },
    "Orthogonal initialization requires the LoRA rank to be even, got 3 instead.",
  ],
  [{ initLoraWeights: "pissa_niter_" }, 'Unknown initialization init_lora_weights="pissa_niter_"'],
  [{ initLoraWeights: "pissa4" }, 'Unknown initialization init_lora_weights="pissa4"'],
  [{ initLoraWeights: 3 }, "Unknown initialization init_lora_weights=3"],
  [{ initLoraWeights: "corda" }, 'init_lora_weights="corda" is not supported: use pissa, or eva'],
  [{ initLoraWeights: "lora_ga" }, 'init_lora_weights="lora_ga" is not supported'],
  [{ initLoraWeights: "mica" }, 'init_lora_weights="mica" is not supported'],
  [{ layerReplication: [[0, 2], [1, 3]] }, "layer_replication is not supported, received [[0,2],[1,3]]"],
  [{ useQalora: true }, "use_qalora is not supported, received true"],
  [{ loraBias: "yes" }, 'lora_bias must be true or false, received "yes"'],
  [{ useDora: 1 }, "use_dora must be true or false, received 1"],
  [
    { loraBias: true, initLoraWeights: "gaussian" },
    "The argument lora_bias=True is only supported with init_lora_weights=True or False, got init_lora_weights=gaussian instead.",
  ],
  [
    { loraBias: true, useDora: true },
    "The argument lora_bias=True is not supported for DoRA, please pass use_dora=False",
  ],
];

Deno.test("new LoraConfig() refuses starts that are not here and fields that exclude each other", () => {
  for (const [fields, message] of BAD) {
    assertThrows(() => new LoraConfig(fields as Partial<LoraConfigFields>), RangeError, message);
  }
});

Deno.test("an adapter that one layer cannot take leaves the model as it was, to the byte", async () => {
  const { device, model } = await tinyModel();
  const [before, names] = [await bytesOf(model), [...model.namedModules()].map(([path]) => path)];
  const live = device.memory.liveBytes;
  const cases: [Partial<LoraConfigFields>, string][] = [
    [
      { loraBias: true, targetModules: ["c_attn", "wpe"] },
      'lora_bias=True is not supported for the embedding "transformer.wpe"',
    ],
    [{ r: 49, initLoraWeights: "pissa" }, "needs a rank of at most 48 for a weight [48, 144], received 49"],
    [{ r: 49, initLoraWeights: "olora" }, "needs a rank of at most 48 for a weight [48, 144], received 49"],
    [
      { r: 4, initLoraWeights: "orthogonal", rankPattern: { "h.1.attn.c_attn": 3 } },
      "Orthogonal initialization requires the LoRA rank to be even, got 3 instead.",
    ],
  ];
  for (const [fields, message] of cases) {
    assertThrows(() => getPeftModel(model, new LoraConfig(fields)), RangeError, message);
    assertEquals([...model.namedModules()].map(([path]) => path), names);
    assertEquals(device.memory.liveBytes, live);
  }
  assertEquals(await bytesOf(model), before);
  model.dispose();
});

Deno.test("DoRA's norms keep their digits where the adapter nearly cancels the weight, and pass NaN on", async () => {
  for (const targetModules of [["c_attn"], ["lm_head"]]) { // both weight layouts
    const { peftModel, device, model } = await adapted({ useDora: true, targetModules });
    const host = targetModules[0] === "lm_head" ? model.lm_head : model.transformer.h[0].attn.c_attn;
    const layer = host as unknown as LoraLayer;
    const [A, B] = [layer.lora_A.get("default")!.weight, layer.lora_B.get("default")!.weight];
    const [rank, inFeatures] = A.shape;
    const outFeatures = B.shape[0];
    // B A is of rank 1 with whole numbers, so that s (B A)^T is exact; the weight is what cancels it but for a speck.
    const a = Float32Array.from({ length: rank * inFeatures }, (_, i) => i < inFeatures ? 1 + i % 5 : 0);
    const b = Float32Array.from({ length: outFeatures * rank }, (_, i) => i % rank === 0 ? 1 + i % 7 : 0);
    const s = 2;
    const speck = 2 ** -12;
    const weight = Float32Array.from({ length: inFeatures * outFeatures }, (_, at) => {
      const conv1d = layer.layout === "conv1d";
      const [i, o] = conv1d
        ? [Math.floor(at / outFeatures), at % outFeatures]
        : [at % inFeatures, Math.floor(at / inFeatures)];
      return -s * a[i] * b[o * rank] + speck;
    });
    const norms = async () => {
      for (const [tensor, data] of [[A, a], [B, b], [layer.weight, weight]] as const) {
        device.write(tensor.view, data);
      }
      using n = columnNorms({ weight: layer.weight, layout: layer.layout, A, B, s });
      return await n.data();
    };
    const expected = new Float64Array(outFeatures).fill(speck * Math.sqrt(inFeatures));
    assertAllClose(await norms(), expected, { rtol: 1e-6, atol: 0, label: `${targetModules}` });
    b[rank] = NaN; // the second output column's factor
    const broken = await norms();
    assert(Number.isNaN(broken[1]) && !Number.isNaN(broken[0]), `received ${broken.slice(0, 3)}`);
    peftModel.dispose();
  }
});
