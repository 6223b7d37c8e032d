/**
 * LoftQ: LoRA's start over a base that loses what it is quantised to, held to `peft`'s function.
 * @module
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  AutoModelForCausalLM,
  type CausalLM,
  getPeftModel,
  LoraConfig,
  PeftModel,
  replaceLoraWeightsLoftq,
  safetensors,
} from "@peft/webgpu";
import { LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
import { defaultDevice, matmul, readNumbers, tidy } from "../../autograd/mod.ts";
import { toFloat32 } from "../../io/safetensors.ts";
import { lowRankLayers } from "../../peft/lora/low_rank.ts";
import { GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";

const FIXTURE = new URL("../fixtures/loftq/cases.safetensors", import.meta.url).pathname;
const SIZES = {
  ...{ vocabSize: 40, hiddenSize: 64, intermediateSize: 128, numHiddenLayers: 2 },
  ...{ numAttentionHeads: 4, numKeyValueHeads: 2 },
};
const RANK = 8;
const DOWN = "model.layers.0.mlp.down_proj";

async function llama(): Promise<CausalLM> {
  return new LlamaForCausalLM(new LlamaConfig("llama", SIZES), { device: await defaultDevice() });
}

/** Numbers of a layer's base weight and of B A. */
async function partsOf(model: PeftModel<CausalLM>, path: string) {
  const [, layer] = lowRankLayers(model.getBaseModel()).find(([name]) => name === path)!;
  const { A, B } = layer.lowRank("default")!;
  const product = tidy(() => matmul(B, A));
  const change = await product.data() as Float32Array;
  product.dispose();
  const { weight } = layer.base_layer as unknown as { weight: Parameters<typeof readNumbers>[0] };
  return { base: await readNumbers(weight), change };
}

/** |a - b| / |b| */
function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [over, under] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    over += (a[i] - b[i]) ** 2;
    under += b[i] ** 2;
  }
  return Math.sqrt(over / under);
}

Deno.test("LoftQ gives peft's base and peft's factors, with 4 and 8 bits, in one turn and in several", async () => {
  const file = await safetensors.load(FIXTURE);
  const numbers = (name: string) => toFloat32(file.get(name)!.dtype, file.get(name)!.data);
  const W = numbers("weight") as Float32Array<ArrayBuffer>;
  for (const [loftqBits, loftqIter] of [[4, 1], [4, 3], [8, 1], [8, 2]] as const) {
    const base = await llama();
    base.getSubmodule(DOWN).ownParameters().next().value![1].write(W);
    const config = new LoraConfig({
      ...{ r: RANK, loraAlpha: RANK, targetModules: [DOWN], initLoraWeights: "loftq" },
      loftqConfig: { loftqBits, loftqIter },
    });
    const model = getPeftModel(base, config);
    const found = await partsOf(model, DOWN);
    const expected = (what: string) => numbers(`${loftqBits}.${loftqIter}.${what}`);
    const [weights, factors] = [
      distance(found.base, expected("base")),
      distance(found.change, expected("change")),
    ];
    console.log(
      `${loftqBits} bits, ${loftqIter} turns: base ${weights.toExponential(1)}, factors ${
        factors.toExponential(1)
      }`,
    );
    assert(weights < 1e-6 && factors < 1e-4, `${loftqBits} bits, ${loftqIter} turns: ${weights}, ${factors}`);
    const whole = found.base.map((x, i) => x + found.change[i]);
    assert(distance(whole, W) < 0.9 * distance(found.base, W), "the factors make up for what the base lost");
    model.dispose();
  }
});

Deno.test("LoftQ over Conv1D leaves a model nearer to the whole one than its quantised base is, DoRA's norms included", async () => {
  const device = await defaultDevice();
  const config = new GPT2Config({ vocabSize: 40, nPositions: 16, nEmbd: 64, nLayer: 2, nHead: 4 });
  const inputs = { inputIds: [[1, 5, 9, 2, 7, 3]] };
  const make = () => {
    const model = new GPT2LMHeadModel(config, { device });
    model.eval();
    return model;
  };
  const logits = async (model: { forward(given: typeof inputs): { logits: { data(): Promise<unknown> } } }) =>
    await model.forward(inputs).logits.data() as Float32Array;
  const whole = await logits(make());
  for (const useDora of [false, true]) {
    const base = make();
    const adapter = { r: 16, loraAlpha: 16, targetModules: "all-linear" as const, useDora };
    const model = getPeftModel(base, new LoraConfig({ ...adapter, initLoraWeights: "loftq" }));
    model.eval();
    const started = distance(await logits(model), whole);
    const [merged, off] = [
      distance(await model.disableAdapter(() => logits(model)), whole),
      model.peftConfig.default.toJSON(),
    ];
    assert(started < 0.75 * merged && merged > 0.005, `${started} with the adapter, ${merged} without`);
    assertEquals(off.loftq_config, { loftq_bits: 4, loftq_iter: 1 });
    model.dispose();
  }
});

Deno.test("replaceLoraWeightsLoftq() fits the factors over a base that was loaded quantised, and takes back what the callback refuses", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const plain = await llama();
    await plain.savePretrained(folder);
    const adapter = { r: RANK, loraAlpha: RANK, targetModules: ["down_proj", "q_proj"] };
    const wanted = getPeftModel(plain, new LoraConfig({ ...adapter, initLoraWeights: "loftq" }));
    const quantized = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { quantization: "nf4" });
    const model = getPeftModel(quantized, new LoraConfig(adapter));
    const paths = await replaceLoraWeightsLoftq(model, folder, { callback: (_model, path) => path !== DOWN });
    assertEquals(paths.length, 3);
    assert(!paths.includes(DOWN));
    assertEquals((await partsOf(model, DOWN)).change.every((x) => x === 0), true, "taken back: B is 0 again");
    assertEquals((await replaceLoraWeightsLoftq(model, folder)).length, 4);
    for (const path of [DOWN, "model.layers.1.self_attn.q_proj"]) {
      const [found, expected] = [await partsOf(model, path), await partsOf(wanted, path)];
      assert(distance(found.base, expected.base) < 1e-7, path);
      assert(distance(found.change, expected.change) < 1e-4, path);
    }
    await model.savePretrained(`${folder}/adapter`);
    const again = await PeftModel.fromPretrained(
      await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { quantization: "nf4" }),
      `${folder}/adapter`,
    );
    assertEquals((await partsOf(again, DOWN)).change, (await partsOf(model, DOWN)).change);

    await assertRejects(
      () => replaceLoraWeightsLoftq(wanted, folder),
      TypeError,
      "whose weights are quantised is required",
    );
    await assertRejects(
      () => replaceLoraWeightsLoftq(model, folder, { adapterNames: "a" } as never),
      TypeError,
      'did you mean "adapterName"',
    );
    const other = new LlamaForCausalLM(new LlamaConfig("llama", { ...SIZES, intermediateSize: 192 }), {
      device: plain.device,
    });
    await other.savePretrained(`${folder}/other`);
    await assertRejects(
      () => replaceLoraWeightsLoftq(model, `${folder}/other`),
      TypeError,
      "must be [64,128], received [64,192]",
    );
    for (const each of [wanted, model, again, other]) each.dispose();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("LoftQ refuses what it cannot do by name, and leaves the model as it was", async () => {
  const base = await llama();
  const weights = async () =>
    (await Promise.all([...base.parameters()].map((parameter) => parameter.data()))).map((
      data,
    ) => [...data as Float32Array]);
  const before = await weights();
  const refused = (fields: ConstructorParameters<typeof LoraConfig>[0], message: string) =>
    assertThrows(
      () =>
        getPeftModel(
          base,
          new LoraConfig({ targetModules: ["down_proj", "v_proj"], initLoraWeights: "loftq", ...fields }),
        ),
      Error,
      message,
    );
  refused({ loftqConfig: { loftqBits: 3 as 4 } }, "loftq_config: loftq_bits must be 4 or 8, received 3");
  refused({ loftqConfig: { loftqIter: 0 } }, "loftq_iter must be an integer of at least 1, received 0");
  refused({ loftqConfig: { bits: 4 } as never }, "the options are loftqBits, loftqIter, received bits");
  refused({ r: 40 }, 'init_lora_weights="loftq" needs a rank of at most 32'); // v_proj has 32 rows; down_proj fits
  assertEquals(await weights(), before);
  assertEquals([...base.namedParameters()].some(([name]) => name.includes("lora")), false);
  const folder = await Deno.makeTempDir();
  await base.savePretrained(folder);
  const quantized = await AutoModelForCausalLM.fromPretrained<CausalLM>(folder, { quantization: "nf4" });
  assertThrows(
    () =>
      getPeftModel(
        quantized,
        new LoraConfig({ r: 4, targetModules: ["down_proj"], initLoraWeights: "loftq" }),
      ),
    Error,
    "needs a weight that is not quantised, received nf4: load the model without quantization, or use replaceLoraWeightsLoftq()",
  );
  await Deno.remove(folder, { recursive: true });
  for (const each of [base, quantized]) each.dispose();
});
