/**
 * LoRA adapters as GGUF files: what is written is read back, bit for bit, and what fits no model is refused.
 * @module
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Device } from "../../autograd/mod.ts";
import { type GgufOut, ggufPieces, type GgufTensorOut } from "../../io/gguf_writer.ts";
import { quantizeQ8_0 } from "../../io/gguf_values.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { fromFloat32 } from "../../io/safetensors.ts";
import {
  type CausalLM,
  GPT2Config,
  GPT2LMHeadModel,
  LlamaConfig,
  type LlamaConfigFields,
  LlamaForCausalLM,
} from "../../model/mod.ts";
import { getPeftModel, hotswapAdapter, LoraConfig, type LoraConfigInput, PeftModel } from "../../peft/mod.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { bytesOf, logitsOf, randomise, warningsOf } from "./tiny_model.ts";

type Family = "gpt2" | LlamaConfig["modelType"];
const INPUTS = { inputIds: [[5, 17, 60, 3, 42]] };

/** A small model; models of one family have the same weights. */
function small(device: Device, family: Family, fields: Partial<LlamaConfigFields> = {}): CausalLM {
  if (family === "gpt2") {
    const sizes = { vocabSize: 96, nEmbd: 64, nHead: 4, nLayer: 2, nPositions: 32 };
    return new GPT2LMHeadModel(new GPT2Config({ ...sizes, initializerRange: 0.2 }), { device }).eval();
  }
  const gemma = { numHiddenLayers: 6, slidingWindow: 16, queryPreAttnScalar: 16, tieWordEmbeddings: true };
  const config = new LlamaConfig(family, {
    ...{ vocabSize: 96, hiddenSize: 64, intermediateSize: 96, numHiddenLayers: 2 },
    ...{ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 16, maxPositionEmbeddings: 32 },
    ...{ initializerRange: 0.2, tieWordEmbeddings: false },
    ...family === "gemma3_text" ? gemma : {},
    ...fields,
  });
  return new LlamaForCausalLM(config, { device }).eval();
}

/** What is written of an adapter. */
async function written(model: PeftModel): Promise<Uint8Array<ArrayBuffer>> {
  const folder = memoryFolder();
  await model.savePretrained(folder, { format: "gguf" });
  return folder.files.get("adapter_model.gguf") as Uint8Array<ArrayBuffer>;
}

/** Bytes of the adapter's own parameters. */
async function adapterBytes(model: PeftModel): Promise<Map<string, string>> {
  return new Map([...await bytesOf(model)].filter(([name]) => name.includes(".lora_")));
}

/** The most probable next token, several times. */
async function greedy(model: PeftModel<CausalLM>): Promise<number[]> {
  const [row] = await model.generate(INPUTS, { maxNewTokens: 12, doSample: false, eosTokenId: [] });
  return row;
}

/** A file with tensors of our own. */
async function fileOf(
  metadata: Record<string, GgufOut>,
  tensors: readonly GgufTensorOut[],
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces = await Array.fromAsync(ggufPieces(new Map(Object.entries(metadata)), [...tensors]));
  return new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer());
}

const CASES: readonly (readonly [name: string, family: Family, config: LoraConfigInput])[] = [
  ["llama: q, k, v, o with patterns", "llama", {
    ...{ r: 4, loraAlpha: 8, targetModules: ["q_proj", "k_proj", "v_proj", "o_proj"] },
    ...{ rankPattern: { k_proj: 2 } },
  }],
  ["llama: one layer alone, embedding and head", "llama", {
    ...{ r: 3, loraAlpha: 5, targetModules: ["layers.1.mlp.down_proj", "embed_tokens", "lm_head"] },
  }],
  ["qwen2: rsLoRA on every layer", "qwen2", { r: 9, useRslora: true, targetModules: "all-linear" }],
  ["qwen3", "qwen3", { r: 2, targetModules: "all-linear" }],
  ["gemma3", "gemma3_text", { r: 2, targetModules: ["q_proj", "gate_proj", "up_proj"] }],
  ["smollm3", "smollm3", { r: 2, targetModules: ["q_proj", "k_proj"] }],
  ["gpt2: Conv1D, square ones too, and an embedding", "gpt2", {
    ...{ r: 4, loraAlpha: 6, targetModules: ["c_attn", "c_proj", "c_fc", "wte"] },
  }],
];

Deno.test("PeftModel.fromPretrained() reads a GGUF adapter that savePretrained() wrote, bit for bit, in every family", async () => {
  const device = await ownDevice();
  for (const [name, family, config] of CASES) {
    const model = getPeftModel(small(device, family), new LoraConfig({ ...config, taskType: "CAUSAL_LM" }));
    await randomise(model);
    model.eval();
    const file = await written(model);
    const back = await PeftModel.fromPretrained(small(device, family), file);
    assertEquals(await adapterBytes(back), await adapterBytes(model), name);
    assertEquals(await logitsOf(back, INPUTS), await logitsOf(model, INPUTS), name);
    assertEquals(await written(back), file, `${name}, written again`);

    // Beside an adapter that is there, and in place of it.
    await back.loadAdapter(memoryFolder({ "adapter.gguf": file }), "second");
    back.setAdapter("second", { inferenceMode: true });
    assertEquals(await logitsOf(back, INPUTS), await logitsOf(model, INPUTS), `${name}, second`);
    for (const one of [model, back]) one.dispose();
  }
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a GGUF adapter's configuration names modules as short as they are clear, and keeps ranks and alpha", async () => {
  const device = await ownDevice();
  const configs = [];
  for (const [, family, config] of CASES.slice(0, 2)) {
    const model = getPeftModel(small(device, family), new LoraConfig(config));
    const back = await PeftModel.fromPretrained(small(device, family), await written(model));
    configs.push(back.peftConfig.default as LoraConfig);
    for (const one of [model, back]) one.dispose();
  }
  const [patterns, single] = configs;
  assertEquals(patterns.targetModules, ["q_proj", "k_proj", "v_proj", "o_proj"]);
  assertEquals([patterns.r, patterns.loraAlpha], [4, 8]);
  assertEquals(patterns.rankPattern, {
    "model.layers.0.self_attn.k_proj": 2,
    "model.layers.1.self_attn.k_proj": 2,
  });
  assertEquals([...single.targetModules as string[]].sort(), [
    "embed_tokens",
    "lm_head",
    "model.layers.1.mlp.down_proj",
  ]);
});

/** Pairs for q of both layers of the small llama, in the numbers of a format. */
function pairs(
  type: "F32" | "F16" | "Q8_0",
  change: (name: string, shape: number[]) => Partial<GgufTensorOut> = () => ({}),
): GgufTensorOut[] {
  const convert = {
    F32: (values: Float32Array) => new Uint8Array(values.slice().buffer),
    F16: (values: Float32Array) => fromFloat32("F16", values),
    Q8_0: quantizeQ8_0,
  };
  let state = 5;
  return [0, 1].flatMap((layer) =>
    ([["a", [32, 64]], ["b", [64, 32]]] as const).map(([half, sizes]): GgufTensorOut => {
      const name = `blk.${layer}.attn_q.weight.lora_${half}`;
      const own = { name, type, shape: [...sizes], ...change(name, [...sizes]) };
      const values = Float32Array.from({ length: own.shape.reduce((a, b) => a * b, 1) }, () => {
        state = (state * 1664525 + 1013904223) >>> 0;
        return Math.round((state / 2 ** 31 - 1) * 127) / 512;
      });
      return { ...own, data: () => Promise.resolve(convert[own.type](values)) };
    })
  );
}

const METADATA: Record<string, GgufOut> = {
  "general.architecture": { string: "llama" },
  "general.type": { string: "adapter" },
  "adapter.type": { string: "lora" },
  "adapter.lora.alpha": { f32: 16 },
};

Deno.test("GGUF adapters in float16 and Q8_0 continue greedily as in float32, and alpha 0 scales by 1", async () => {
  const device = await ownDevice();
  const load = async (metadata: Record<string, GgufOut>, type: "F32" | "F16" | "Q8_0") =>
    await PeftModel.fromPretrained(small(device, "llama"), await fileOf(metadata, pairs(type)));
  const exact = await load(METADATA, "F32");
  const texts = await greedy(exact);
  const plain = await exact.disableAdapter(() => greedy(exact));
  assert(`${texts}` !== `${plain}`, "the adapter must show");
  for (const type of ["F16", "Q8_0"] as const) {
    const model = await load(METADATA, type);
    assertEquals(await greedy(model), texts, type);
    if (type === "F16") assertEquals(await adapterBytes(model), await adapterBytes(exact)); // all fit in float16
    model.dispose();
  }
  const unscaled = await load({ ...METADATA, "adapter.lora.alpha": { f32: 0 } }, "F32");
  const { loraAlpha, r } = unscaled.peftConfig.default as LoraConfig;
  assertEquals([loraAlpha, r], [32, 32]);

  // The same file takes another adapter's place: the ratio of the scalings goes into B.
  await hotswapAdapter(unscaled, await fileOf(METADATA, pairs("F32")), "default");
  assertEquals(await greedy(unscaled), texts);
  for (const one of [exact, unscaled]) one.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test("a GGUF file that is no adapter of the model is refused with the reason, and the model stays as it is", async () => {
  const device = await ownDevice();
  const model = small(device, "llama");
  const [before, names] = [await bytesOf(model), [...model.namedModules()].map(([name]) => name)];
  const whole = await fileOf(METADATA, pairs("F32"));
  const without = (key: string) =>
    Object.fromEntries(Object.entries(METADATA).filter(([name]) => name !== key));
  const withTensors = (tensors: GgufTensorOut[]) => fileOf(METADATA, tensors);
  const rename = (from: RegExp, to: string) => (name: string) => ({ name: name.replace(from, to) });
  const refused: readonly (readonly [file: Uint8Array, message: string])[] = [
    [
      await fileOf({ ...METADATA, "general.architecture": { string: "qwen2" } }, pairs("F32")),
      'received "qwen2"',
    ],
    [await fileOf({ "general.architecture": { string: "llama" } }, pairs("F32")), "AutoModelForCausalLM"],
    [await fileOf({ ...METADATA, "general.type": { string: "model" } }, []), 'received "model"'],
    [await fileOf({ ...METADATA, "adapter.type": { string: "ia3" } }, []), 'must be "lora", received "ia3"'],
    [await fileOf(without("adapter.type"), []), 'must be "lora", received none'],
    [
      await fileOf({ ...METADATA, "adapter.alora.invocation_tokens": { i32s: [1] } }, pairs("F32")),
      "invocation tokens",
    ],
    [await fileOf({ ...METADATA, "adapter.lora.alpha": { string: "8" } }, pairs("F32")), "must be a number"],
    [await withTensors([]), "no LoRA layer is there"],
    [
      await withTensors(pairs("F32", (name) => /0.*_b$/.test(name) ? { shape: [64, 16] } : {})),
      '"blk.0.attn_q.weight.lora_a" has rank 32, "blk.0.attn_q.weight.lora_b" has 16',
    ],
    [
      await withTensors(pairs("F32", (name) => name.endsWith("_a") ? { shape: [32, 48] } : {})),
      "expected [32, 64], found [32, 48]",
    ],
    [
      await withTensors(pairs("F32", (name) => ({ shape: name.endsWith("_a") ? [2048] : [64, 32] }))),
      "a matrix",
    ],
    [
      await withTensors(pairs("F32", rename(/^blk\.1/, "blk.7"))),
      '"blk.7.attn_q.weight.lora_a" belongs to no module',
    ],
    [await withTensors(pairs("F32", rename(/lora_b$/, "lora_mid"))), "is no part of a LoRA layer"],
    [await withTensors(pairs("F32").slice(1)), '"blk.0.attn_q.weight.lora_a" is missing'],
    [await withTensors(pairs("F32").slice(0, 3)), '"blk.1.attn_q.weight.lora_b" is missing'],
    [whole.slice(0, whole.length - 100), "cut short or damaged"],
    [whole.slice(0, 60), "the file ends at byte 60"],
    [new TextEncoder().encode("not a GGUF file at all"), 'begins with "GGUF"'],
  ];
  for (const [file, message] of refused) {
    const error = await assertRejects(() => PeftModel.fromPretrained(model, file), Error);
    assert(["GgufError", "TypeError"].includes(error.name), error.name);
    assertStringIncludes(error.message, message);
    assert(/^Cannot (load adapter|read) "/.test(error.message), error.message);
    assertEquals([...model.namedModules()].map(([name]) => name), names, message);
  }
  assertEquals(await bytesOf(model), before);

  // Norms are left out, as llama.cpp does, but said.
  const norm: GgufTensorOut = {
    ...{ name: "blk.0.attn_norm.weight", type: "F32", shape: [64] },
    data: () => Promise.resolve(new Uint8Array(256)),
  };
  let loaded: PeftModel | undefined;
  const warnings = await warningsOf(async () => {
    loaded = await PeftModel.fromPretrained(model, await withTensors([norm, ...pairs("F32")]));
  });
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], "blk.0.attn_norm.weight");
  loaded!.dispose();
  assertEquals(device.memory.liveBytes, 0);
});
