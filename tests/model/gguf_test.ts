/**
 * Models in GGUF files.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertRejects } from "@std/assert";
import { noGrad } from "../../autograd/mod.ts";
import { GgufError } from "../../io/gguf_header.ts";
import { memoryFolder } from "../../io/open_file.ts";
import { AutoModelForCausalLM } from "../../model/mod.ts";
import { ownDevice } from "../reference/fixtures.ts";
import { ggufFile, type SmallTensor, type SmallValue } from "../reference/gguf_bytes.ts";

const FIXTURES = new URL("../fixtures/", import.meta.url).pathname;

async function bytesOf(model: Awaited<ReturnType<typeof AutoModelForCausalLM.fromPretrained>>) {
  const bytes = new Map<string, string>();
  for (const [name, parameter] of model.namedParameters()) {
    const data = await parameter.data();
    bytes.set(
      name,
      `${parameter.dtype} ${new Uint8Array(data.buffer, data.byteOffset, data.byteLength).join()}`,
    );
  }
  return bytes;
}

Deno.test("a GGUF file in F32 or F16 gives the parameters of the folder it was made from, to the bit", async () => {
  for (const dtype of ["float32", "float16"] as const) {
    const device = await ownDevice();
    const folder = await AutoModelForCausalLM.fromPretrained(`${FIXTURES}gpt2_tiny`, { device, dtype });
    const wanted = await bytesOf(folder);
    const { config } = folder;
    folder.dispose();
    for (const file of dtype === "float32" ? ["gpt2_f32.gguf"] : ["gpt2_f32.gguf", "gpt2_f16.gguf"]) {
      const loaded: string[] = [];
      const model = await AutoModelForCausalLM.fromPretrained(`${FIXTURES}gguf/${file}`, {
        device,
        dtype,
        onProgress: (progress) => void loaded.push("name" in progress ? String(progress.name) : ""),
      });
      assertEquals([...await bytesOf(model)], [...wanted], file);
      assertEquals(loaded, [...wanted.keys()]);
      const { nEmbd, nLayer, nHead, vocabSize, nPositions, layerNormEpsilon } = model.config;
      assertEquals(
        [nEmbd, nLayer, nHead, vocabSize, nPositions, layerNormEpsilon],
        [
          config.nEmbd,
          config.nLayer,
          config.nHead,
          config.vocabSize,
          config.nPositions,
          config.layerNormEpsilon,
        ],
      );
      assert(!model.training);
      assert(model.config.nameOrPath!.endsWith(file));
      model.dispose();
      assertEquals(device.memory.liveBytes, 0);
    }
  }
});

Deno.test("a GGUF file of mixed block formats gives the logits of the numbers that gguf-py dequantises", async () => {
  const device = await ownDevice();
  const { ids, logits } = JSON.parse(await Deno.readTextFile(`${FIXTURES}gguf/gpt2_mixed.json`));
  const bytes = await Deno.readFile(`${FIXTURES}gguf/gpt2_mixed.gguf`);
  for (const input of [`${FIXTURES}gguf/gpt2_mixed.gguf`, bytes, new Blob([bytes])]) {
    const model = await AutoModelForCausalLM.fromPretrained(input, { device });
    using output = noGrad(() => model.forward({ inputIds: ids }));
    assertAllClose(await output.logits.data(), logits.flat(), { rtol: 0, atol: 2e-5 });
    model.dispose();
  }
  assertEquals(device.memory.liveBytes, 0);
});

Deno.test('dtype "auto" keeps the blocks of a GGUF file: its bytes, and the numbers of the dequantised model', async () => {
  const device = await ownDevice();
  const path = `${FIXTURES}gguf/gpt2_mixed.gguf`;
  const { ids } = JSON.parse(await Deno.readTextFile(`${FIXTURES}gguf/gpt2_mixed.json`));
  const run = async (dtype: "auto" | "float32") => {
    const model = await AutoModelForCausalLM.fromPretrained(path, { device, dtype });
    using output = noGrad(() => model.forward({ inputIds: ids }));
    const logits = await output.logits.data();
    const tokens = await model.generate(ids, { maxNewTokens: 4, eosTokenId: null });
    const parameters = [...model.namedParameters()];
    const types = new Map(
      parameters.map(([name, { dtype }]) => [name.replace(/^transformer\.(h\.0\.)?/, ""), dtype]),
    );
    const bytes = parameters.reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
    const trained = parameters.filter(([, parameter]) => parameter.requiresGrad).map(([name]) => name);
    const saved = memoryFolder();
    await model.savePretrained(saved);
    model.dispose();
    const again = await AutoModelForCausalLM.fromPretrained(saved, { device });
    using second = noGrad(() => again.forward({ inputIds: ids }));
    const copy = await second.logits.data();
    again.dispose();
    return { logits, tokens, types, bytes, trained, copy };
  };
  const [blocks, numbers] = [await run("auto"), await run("float32")];
  // Products along rows take the numbers of a word of codes at a time: sums in another order.
  assertAllClose(blocks.logits, numbers.logits, { rtol: 0, atol: 1e-6 });
  assertEquals(blocks.tokens, numbers.tokens);
  assertEquals(blocks.copy, numbers.logits, "saved as the numbers that the blocks stand for");
  const kept = [...blocks.types].filter(([, type]) => type !== "float32");
  assertEquals(Object.fromEntries(kept), {
    "wte.weight": "q8_0",
    "wpe.weight": "bfloat16",
    "attn.c_attn.weight": "q4_0",
    "attn.c_proj.weight": "q5_1",
    "mlp.c_fc.weight": "q5_0",
    "mlp.c_proj.weight": "q4_1",
  });
  assert(blocks.trained.every((name) => /ln_|bias/.test(name)), "blocks are frozen");
  const { size } = await Deno.stat(path);
  assert(blocks.bytes < size && blocks.bytes < numbers.bytes / 4, `${blocks.bytes} of ${size} bytes`);
  assertEquals(device.memory.liveBytes, 0);
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained(path, { device, dtype: "q4_0" as "auto" }),
    TypeError,
    'dtype must be one of "float32", "float16", "auto", received "q4_0"',
  );
});

const u32 = (value: number): SmallValue => [4, (out) => void out.u32(value)];
const text = (value: string): SmallValue => [8, (out) => void out.string(value)];

/** A GPT-2 with one block of width 2, some of its tensors changed. */
function tiny(
  metadata: Record<string, SmallValue | null> = {},
  change: (tensors: SmallTensor[]) => SmallTensor[] = (tensors) => tensors,
) {
  const f32 = (name: string, ...shape: number[]): SmallTensor => ({
    name,
    type: "F32",
    shape,
    data: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)),
  });
  const block = (name: string, out: number, width: number) => [
    f32(`blk.0.${name}.weight`, out, width),
    f32(`blk.0.${name}.bias`, out),
  ];
  const norm = (name: string) => [f32(`${name}.weight`, 2), f32(`${name}.bias`, 2)];
  const entries: Record<string, SmallValue | null> = {
    "general.architecture": text("gpt2"),
    "gpt2.context_length": u32(8),
    "gpt2.embedding_length": u32(2),
    "gpt2.block_count": u32(1),
    "gpt2.attention.head_count": u32(1),
    "gpt2.feed_forward_length": u32(8),
    ...metadata,
  };
  const given = Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== null));
  return ggufFile(
    given as Record<string, SmallValue>,
    change([
      f32("token_embd.weight", 5, 2),
      f32("position_embd.weight", 8, 2),
      ...norm("blk.0.attn_norm"),
      ...block("attn_qkv", 6, 2),
      ...block("attn_output", 2, 2),
      ...norm("blk.0.ffn_norm"),
      ...block("ffn_up", 8, 2),
      ...block("ffn_down", 2, 8),
      ...norm("output_norm"),
    ]),
  );
}

Deno.test("a GGUF file that does not fit is refused by name, and nothing is allocated", async () => {
  const device = await ownDevice();
  const load = (bytes: Uint8Array<ArrayBuffer>) => AutoModelForCausalLM.fromPretrained(bytes, { device });
  (await load(tiny())).dispose();
  const other = (name: string, changed: Partial<SmallTensor>) => (tensors: SmallTensor[]) =>
    tensors.map((tensor) => tensor.name === name ? { ...tensor, ...changed } : tensor);
  const cases: [Uint8Array<ArrayBuffer>, string][] = [
    [tiny({ "general.architecture": text("mamba") }), 'general.architecture must be one of "gpt2"'],
    [tiny({ "general.architecture": null }), "general.architecture is required, received none"],
    [tiny({ "gpt2.block_count": null }), "gpt2.block_count is required, received none"],
    [tiny({ "gpt2.block_count": text("1") }), "gpt2.block_count must be a number, received string"],
    [tiny({ "gpt2.attention.head_count": u32(3) }), "n_embd must be a multiple of n_head 3"],
    [tiny({}, (tensors) => tensors.slice(1)), "vocab_size must be"],
    [tiny({}, (tensors) => tensors.slice(0, -1)), '"transformer.ln_f.bias" is missing'],
    [
      tiny({}, (tensors) => [...tensors, { ...tensors[0], name: "rope_freqs.weight" }]),
      '"rope_freqs.weight" is unexpected',
    ],
    [
      tiny({}, other("blk.0.attn_qkv.weight", { shape: [4, 3] })),
      '"blk.0.attn_qkv.weight" expected [2, 6], found [3, 4]',
    ],
    [
      tiny(
        {},
        other("blk.0.attn_qkv.weight", { type: "IQ2_XXS", shape: [6, 256], data: new Uint8Array(6 * 66) }),
      ),
      '"blk.0.attn_qkv.weight" is of IQ2_XXS: F32, F16, BF16, Q4_0',
    ],
    [tiny().slice(0, -1), "it is cut short or damaged"],
  ];
  for (const [bytes, message] of cases) {
    await assertRejects(() => load(bytes), Error, message);
    assertEquals(device.memory.liveBytes, 0, message);
  }
  await assertRejects(() => load(tiny({ "general.architecture": text("mamba") })), GgufError);
  await assertRejects(
    () => AutoModelForCausalLM.fromPretrained("no/such.gguf", { device }),
    Error,
    "no/such.gguf",
  );
});
