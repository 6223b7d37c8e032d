/**
 * Packed rows: against transformers, and against the same documents as rows of their own.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertThrows, relativeL2 } from "@std/assert";
import { captureStep, type Device, noGrad, Tensor, tidy } from "../../autograd/mod.ts";
import { AutoModelForCausalLM, type CausalLM, GPT2Config, GPT2LMHeadModel } from "../../model/mod.ts";
import { LlamaConfig, LlamaForCausalLM } from "../../model/llama/mod.ts";
import type { CausalLMInputs } from "../../model/inputs.ts";
import { getPeftModel, LoraConfig, PrefixTuningConfig, PromptTuningConfig } from "../../peft/mod.ts";
import { AdamW } from "../../train/mod.ts";
import { assertGradients, assertNear, expectedOf, FIXTURES, ownDevice } from "../reference/fixtures.ts";

interface Json {
  model: string;
  input_ids: number[][];
  labels: number[][];
  positions: number[][];
  lengths: number[][];
  loss: number;
}

const CASES = ["gpt2", "llama", "mistral", "gemma3"];

/** Ids of documents, as `sequenceIds` takes them. */
const idsOf = (lengths: number[][]) =>
  lengths.map((row) => row.flatMap((length, n) => new Array<number>(length).fill(n)));
const positionsOf = (lengths: number[][]) =>
  lengths.map((row) => row.flatMap((length) => Array.from({ length }, (_, i) => i)));

/** Rows of random tokens; the first label of each document is -100. */
function packed(lengths: number[][], vocabulary: number) {
  let state = 1;
  const next = () => (state = state * 48271 % 2147483647) % vocabulary;
  const inputIds = lengths.map((row) => row.flatMap((length) => Array.from({ length }, next)));
  const positionIds = positionsOf(lengths);
  const labels = inputIds.map((row, b) => row.map((id, i) => positionIds[b][i] === 0 ? -100 : id));
  return { inputIds, labels, positionIds, sequenceIds: idsOf(lengths) };
}

/** The same documents, each a row of its own, padded on the right. */
function apart(lengths: number[][], { inputIds, labels }: { inputIds: number[][]; labels: number[][] }) {
  const width = Math.max(...lengths.flat());
  const rows: Required<Pick<CausalLMInputs, "inputIds" | "labels" | "attentionMask">> & {
    inputIds: number[][];
    labels: number[][];
    attentionMask: number[][];
  } = { inputIds: [], labels: [], attentionMask: [] };
  lengths.forEach((row, b) => {
    let from = 0;
    for (const length of row) {
      const cut = (values: number[], rest: number) => [
        ...values.slice(from, from + length),
        ...new Array(width - length).fill(rest),
      ];
      rows.inputIds.push(cut(inputIds[b], 0));
      rows.labels.push(cut(labels[b], -100));
      rows.attentionMask.push(cut(new Array(inputIds[b].length).fill(1), 0));
      from += length;
    }
  });
  return rows;
}

/** Loss and gradients of everything that trains. */
async function learn(
  model: { forward: CausalLM["forward"]; namedParameters: CausalLM["namedParameters"] },
  inputs: CausalLMInputs,
) {
  const loss = tidy(() => {
    const { loss } = model.forward(inputs);
    loss!.backward();
    return loss!;
  });
  const gradients = new Map<string, Float32Array>();
  for (const [name, parameter] of model.namedParameters()) {
    if (!parameter.grad) continue;
    gradients.set(name, await parameter.grad.data() as Float32Array);
    parameter.grad.dispose();
    parameter.grad = null;
  }
  const value = await loss.item();
  loss.dispose();
  return { loss: value, gradients };
}

type Learned = Awaited<ReturnType<typeof learn>>;

/** Losses and all gradients as one vector within 1e-6; each tensor within 3e-6: sums over tokens in another order. */
function assertSame(actual: Learned, expected: Learned, label: string): void {
  assertAllClose([actual.loss], [expected.loss], { rtol: 0, atol: 1e-6, label: `${label}: loss` });
  assertEquals([...actual.gradients.keys()], [...expected.gradients.keys()]);
  const lengthOf = (values: Float32Array) => Math.hypot(...values);
  const whole = Math.hypot(...[...expected.gradients.values()].map(lengthOf));
  let squares = 0;
  for (const [name, values] of actual.gradients) {
    const wanted = expected.gradients.get(name)!;
    if (lengthOf(wanted) < 1e-6 * whole) continue; // k's bias: 0 but for rounding
    const error = relativeL2(values, wanted);
    squares += (error * lengthOf(wanted)) ** 2;
    assert(error < 3e-6, `${label}: ${name} differs by ${error}`);
  }
  const error = Math.sqrt(squares) / whole;
  assert(error < 1e-6, `${label}: gradients differ by ${error}`);
}

for (const name of CASES) {
  Deno.test(`${name} on packed rows gives transformers' logits, loss and gradients`, async () => {
    const { json, ...expected } = await expectedOf<Json>(`packed/${name}`);
    const device = await ownDevice();
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}${json.model}`, { device });
    const output = model.forward({
      inputIds: json.input_ids,
      labels: json.labels,
      positionIds: json.positions,
    });
    await assertNear(output.logits, expected.tensor("logits"), 2e-5, "logits");
    assertAllClose([await output.loss!.item()], [json.loss], { rtol: 0, atol: 1e-6, label: "loss" });
    output.loss!.backward();
    const small = [...model.namedParameters()].filter(([, { size }]) => size <= 10_000);
    await assertGradients(small, { json, ...expected });
    output.dispose();
    model.dispose();
    assertEquals(device.memory.liveBytes, 0);
  });

  Deno.test(`${name} on packed rows learns what it learns from the documents apart, by ids or positions`, async () => {
    const device = await ownDevice();
    const { json: { model: source } } = await expectedOf<Json>(`packed/${name}`);
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}${source}`, { device });
    model.requiresGrad_(true);
    // Longer than a row of the model's positions and than 256; a document of one token, and of all positions.
    const lengths = [[64, 1, 33, 57, 8, 64, 62], [60, 64, 9, 64, 64, 28]];
    const { inputIds, labels, positionIds, sequenceIds } = packed(lengths, 61);
    const expected = await learn(model, apart(lengths, { inputIds, labels }));
    assertSame(await learn(model, { inputIds, labels, positionIds }), expected, "positions");
    assertSame(await learn(model, { inputIds, labels, sequenceIds }), expected, "ids");
    const tensor = (rows: number[][]) => Tensor.from(rows, { dtype: "int32", device });
    using ids = tensor(sequenceIds);
    using positions = tensor(positionIds);
    assertSame(await learn(model, { inputIds, labels, positionIds: positions }), expected, "a tensor");
    const both = { inputIds, labels, positionIds: positions, sequenceIds: ids };
    assertSame(await learn(model, both), expected, "tensors");
    model.dispose();
  });
}

/** A model of 2,048 positions: GPT-2, or Llama with grouped heads whose second layer has a window. */
const WIDE: Readonly<Record<string, (device: Device) => CausalLM>> = {
  gpt2: (device) => {
    const sizes = { nLayer: 2, nEmbd: 32, nHead: 2, vocabSize: 61, nPositions: 1024 };
    const drops = { residPdrop: 0, embdPdrop: 0, attnPdrop: 0 };
    const config = new GPT2Config({ ...sizes, ...drops, bosTokenId: 0, eosTokenId: 0 });
    return new GPT2LMHeadModel(config, { device, seed: 1 });
  },
  qwen2: (device) => {
    const config = new LlamaConfig("qwen2", {
      ...{ vocabSize: 61, hiddenSize: 32, intermediateSize: 40, numHiddenLayers: 2 },
      ...{ numAttentionHeads: 4, numKeyValueHeads: 2, maxPositionEmbeddings: 1024 },
      ...{ useSlidingWindow: true, slidingWindow: 100, maxWindowLayers: 1 },
    });
    return new LlamaForCausalLM(config, { device, seed: 1 });
  },
};

for (const [name, make] of Object.entries(WIDE)) {
  Deno.test(`${name} learns from 2,048 positions of mixed documents what it learns from them apart`, async () => {
    const device = await ownDevice();
    const model = make(device);
    model.requiresGrad_(true);
    const lengths = [[700, 3, 411, 1, 1024 - 91]];
    assertEquals(lengths[0].reduce((a, b) => a + b), 2048);
    const { inputIds, labels, positionIds } = packed(lengths, 61);
    const expected = await learn(model, apart(lengths, { inputIds, labels }));
    assertSame(await learn(model, { inputIds, labels, positionIds }), expected, name);
    model.dispose();
  });
}

Deno.test("a row of one document is as it always was, and documents do not see each other", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/llama`, { device });
  const logits = async (inputs: CausalLMInputs) => {
    using output = noGrad(() => model.forward(inputs));
    return await output.logits.data() as Float32Array;
  };
  const [row] = packed([[40]], 61).inputIds;
  const whole = await logits({ inputIds: [row] });
  const counted = await logits({ inputIds: [row], positionIds: [row.map((_, i) => i)] });
  assertEquals(counted, whole);
  assertEquals(await logits({ inputIds: [row], sequenceIds: [row.map(() => 7)] }), whole);
  const positionIds = [row.map((_, i) => i % 20)];
  const two = await logits({ inputIds: [row], positionIds });
  assertEquals(two.slice(0, 20 * 61), whole.slice(0, 20 * 61));
  assert(relativeL2(two.slice(20 * 61), whole.slice(20 * 61)) > 0.01);
  // As in transformers, a mask says that there is one document; ids say more than a mask.
  const attentionMask = [row.map(() => 1)];
  const masked = await logits({ inputIds: [row], positionIds, attentionMask });
  assert(relativeL2(masked.slice(20 * 61), two.slice(20 * 61)) > 0.01);
  const sequenceIds = [row.map((_, i) => i < 20 ? 3 : 1)];
  assertEquals(await logits({ inputIds: [row], sequenceIds, attentionMask }), two);
  // Padding inside of a document is hidden as in a row of its own.
  const holes = row.map((_, i) => [0, 1, 23, 39].includes(i) ? 0 : 1);
  const packedHoles = await logits({ inputIds: [row], sequenceIds, attentionMask: [holes] });
  const halves = [row.slice(0, 20), row.slice(20)];
  const apartHoles = await logits({ inputIds: halves, attentionMask: [holes.slice(0, 20), holes.slice(20)] });
  const real = (_: number, i: number) => holes[Math.floor(i / 61)] !== 0;
  // The keys of a document lie in other steps of eight: sums in another order.
  assertAllClose(packedHoles.filter(real), apartHoles.filter(real), { rtol: 0, atol: 1e-5 });
  model.dispose();
  assertEquals(device.memory.liveBytes, 0);
});

/** Losses of LoRA steps on `batches`, recorded or not; what the last batch throws, if anything. */
async function stepLosses(
  batches: Record<string, number[][]>[],
  recorded: boolean,
): Promise<{ losses: number[]; error: unknown }> {
  const device = await ownDevice();
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/llama`, { device });
  const model = getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["q_proj", "v_proj"] }));
  const trained = [...model.parameters()].filter(({ requiresGrad }) => requiresGrad);
  const optimizer = new AdamW(trained, { lr: 1e-2 });
  const body = (inputs: CausalLMInputs) => {
    const loss = tidy(() => {
      const { loss } = model.forward(inputs);
      loss!.backward();
      return loss!;
    });
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  };
  const captured = captureStep(
    device,
    (inputs: Record<string, Tensor>) => body(inputs),
  );
  const losses: number[] = [];
  let error: unknown = null;
  for (const batch of batches) {
    try {
      const loss = recorded ? captured(batch) : body(batch);
      losses.push(await loss.item());
      if (!recorded) loss.dispose();
    } catch (thrown) {
      error = thrown;
    }
  }
  captured.dispose();
  optimizer.dispose();
  model.dispose();
  return { losses, error };
}

Deno.test("a captured step takes documents of every call, as an eager one does", async () => {
  const batches = [[[5, 12, 7]], [[24]], [[1, 1, 22]], [[11, 13]], [[8, 8, 8]]].map((rows) =>
    packed(rows, 61)
  );
  const byIds = batches.map(({ inputIds, labels, sequenceIds }) => ({ inputIds, labels, sequenceIds }));
  const byPositions = batches.map(({ inputIds, labels, positionIds }) => ({ inputIds, labels, positionIds }));
  const { losses } = await stepLosses(byIds, false);
  assertEquals((await stepLosses(byPositions, false)).losses, losses);
  assertEquals((await stepLosses(byPositions, true)).losses, losses);
  const last = { ...byIds[0], sequenceIds: [byIds[0].sequenceIds[0].map((_, i) => i % 2)] };
  const { error, ...replayed } = await stepLosses([...byIds, last], true);
  assertEquals(replayed.losses, losses);
  assert(error instanceof RangeError, `a RangeError was expected, received ${error}`);
  assert(error.message.includes("tokens of a document must be neighbours, received 0 again at [0, 2]"));
});

Deno.test("packed rows that make no sense are refused by name, and nothing stays", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/llama`, { device });
  const inputIds = [[1, 2, 3, 4]];
  const before = device.memory.liveBytes;
  const refuses = (inputs: CausalLMInputs, kind: ErrorConstructor, message: string, on = model) =>
    assertThrows(() => on.forward({ inputIds, ...inputs }), kind, message);
  const sequenceIds = [[0, 0, 1, 1]];
  const positionIds = [[0, 1, 0, 1]];
  refuses(
    { sequenceIds: [[0, 0, 1]] },
    TypeError,
    "Cannot use sequenceIds: the shape of inputIds [1, 4] is required, received [1, 3]",
  );
  refuses({ sequenceIds: [[0, 0, 1, 1], [0, 0, 1, 1]] }, TypeError, "required, received [2, 4]");
  refuses(
    { sequenceIds: [[0, 0, NaN, 1]] },
    RangeError,
    "Cannot use sequenceIds: integers from 0 to 2147483646 are required, received NaN at [0, 2]",
  );
  refuses({ sequenceIds: [[0, -1, 1, 1]] }, RangeError, "received -1 at [0, 1]");
  refuses({ sequenceIds: [[0, 0.5, 1, 1]] }, RangeError, "received 0.5 at [0, 1]");
  refuses(
    { sequenceIds: [[0, 1, 0, 0]] },
    RangeError,
    "Cannot use sequenceIds: tokens of a document must be neighbours, received 0 again at [0, 2]",
  );
  refuses(
    { sequenceIds: [] },
    TypeError,
    "Cannot use sequenceIds: at least one row of at least one token is required",
  );
  refuses(
    { sequenceIds, useCache: true },
    TypeError,
    "Cannot pack documents into rows by sequenceIds: a forward of whole rows is required, received a cache",
  );
  refuses(
    { positionIds, useCache: true },
    TypeError,
    "by positionIds that restart: a forward of whole rows is required, received a cache",
  );
  using floats = Tensor.from([[0, 0, 1, 1]], { device });
  refuses(
    { sequenceIds: floats },
    TypeError,
    "an int32 tensor of shape [B, T] is required, received float32 [1, 4]",
  );
  const { pastKeyValues } = noGrad(() => model.forward({ inputIds, useCache: true }));
  refuses({ sequenceIds, pastKeyValues }, TypeError, "received a cache");
  pastKeyValues!.dispose();
  const long = new Array(65).fill(1);
  refuses(
    { inputIds: [long], sequenceIds: [long] },
    RangeError,
    "on 65 tokens: at most max_position_embeddings 64 are allowed",
  );
  refuses(
    { inputIds: [[1, ...long]], positionIds: [[0, ...long.map((_, i) => i)]] },
    RangeError,
    "Cannot use positionIds: integers from 0 to 63 are required, received 64 at [0, 65]",
  );
  for (
    const config of [
      new PrefixTuningConfig({ numVirtualTokens: 3 }),
      new PromptTuningConfig({ numVirtualTokens: 3 }),
    ]
  ) {
    const tuned = getPeftModel(model, config);
    const what = config instanceof PrefixTuningConfig ? "a prefix" : "virtual tokens";
    refuses({ sequenceIds }, TypeError, `received ${what}`, tuned as never);
    refuses({ positionIds }, TypeError, `received ${what}`, tuned as never);
    tuned.unload();
  }
  assert(before > 0);
  model.dispose();
});
