/**
 * Requests that share a batch, come and go: each gets the tokens that it gets alone.
 * @module
 */

import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  AutoModelForCausalLM,
  type BatchedRequest,
  type BatchRequest,
  type CausalLM,
  ContinuousBatch,
} from "../../../model/mod.ts";
import { Device, noGrad, Tensor } from "../../../autograd/mod.ts";
import { bindAdapters, getPeftModel, LoraConfig } from "../../../peft/mod.ts";
import { randomise } from "../../peft/tiny_model.ts";
import { FIXTURES, ownDevice } from "../../reference/fixtures.ts";
import { computedPositions } from "./computed_positions.ts";

/** Ids of all tokens that a request gets. */
async function idsOf(request: BatchedRequest): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of request) ids.push(id);
  return ids;
}

/** Prompts of 1 to `longest` tokens, and lengths, that look random. */
function requests(count: number, vocabSize: number, longest: number): BatchRequest[] {
  let state = 7;
  const next = (below: number) => (state = (state * 1103515245 + 12345) % 2 ** 31) % below;
  return Array.from({ length: count }, (_, i) => ({
    prompt: Array.from({ length: 1 + next(longest) }, () => next(vocabSize)),
    maxNewTokens: 1 + next(longest),
    eosTokenId: [],
    ...i % 3 === 1 ? { doSample: true, temperature: 0.8, topK: 20, seed: i, repetitionPenalty: 1.2 } : {},
    ...i % 3 === 2 ? { presencePenalty: 0.4, noRepeatNgramSize: 2 } : {},
  }));
}

/** What `generate()` adds to the prompt alone. */
async function alone(
  model: Pick<CausalLM, "generate">,
  { prompt, ...options }: BatchRequest,
): Promise<number[]> {
  const { adapter: _, logProbs: __, eosTokenId = null, ...rest } = options;
  const [ids] = await model.generate([prompt], { ...rest, eosTokenId });
  return ids.slice(prompt.length);
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Prompts are computed in pieces of five tokens, or several side by side. */
for (
  const [fixture, prefillTokens] of [["gpt2_tiny", 5], ["gpt2_tiny", 40], ["llama/mistral", 30], [
    "llama/gemma3",
    5,
  ], [
    "llama/qwen3",
    30,
  ], ["llama/llama_yarn", 30]] as const
) {
  Deno.test(`a continuous batch of ${fixture} that computes ${prefillTokens} tokens of prompts at once gives each request what it gets alone, whatever comes and goes beside it`, async () => {
    const device = await ownDevice();
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}${fixture}`, { device });
    const wanted = requests(14, model.facts.vocabSize, 14);
    const expected = [];
    for (const request of wanted) expected.push(await alone(model, request));
    const live = device.memory.liveBytes;
    using batch = new ContinuousBatch(model, { maxRows: 4, prefillTokens, promptCacheBytes: 0 });
    const found: Promise<number[]>[] = [];
    for (const [i, request] of wanted.entries()) {
      found.push(idsOf(batch.add(request)));
      assert(batch.running <= 4);
      if (i % 4 === 3) await pause(20);
    }
    assertEquals(await Promise.all(found), expected);
    await pause(0);
    assertEquals([batch.running, batch.waiting], [0, 0]);
    assertEquals(device.memory.liveBytes, live, "an idle batch holds no memory");
    model.dispose();
  });
}

Deno.test("a continuous batch outlives its longest row many times over: rows move to the left as old ones leave", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  const most = model.facts.maxPositions;
  using batch = new ContinuousBatch(model, { maxRows: 3 });
  const whole: BatchRequest = { prompt: [5], maxNewTokens: most - 1, eosTokenId: [] };
  const half: BatchRequest = { prompt: [7, 9], maxNewTokens: Math.floor(most / 2), eosTokenId: [] };
  const expected = [await alone(model, whole), await alone(model, half)];
  // Chains of requests: each begins where another of its chain ended, so that the batch is never empty.
  const chain = async (kinds: number[]) => {
    for (const kind of kinds) assertEquals(await idsOf(batch.add([whole, half][kind])), expected[kind]);
  };
  await Promise.all([chain([1, 0, 1]), chain([0, 1, 0]), chain([1, 1, 1, 0])]);
  model.dispose();
});

Deno.test("rows of a continuous batch lie within one binding of the device, with the room that is kept for their next tokens", async () => {
  const { gpuDevice } = await ownDevice();
  const limits = { maxStorageBufferBindingSize: 2 ** 16, maxBufferSize: 2 ** 17 };
  const device = await Device.create({ device: gpuDevice, limits });
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  using batch = new ContinuousBatch(model, { maxRows: 12, promptCacheBytes: 0 });
  const wanted: BatchRequest[] = Array.from({ length: 24 }, (_, i) => ({
    prompt: [5 + i, 7],
    maxNewTokens: i === 20 ? 40 : 4 + i % 7,
    eosTokenId: [],
  }));
  const expected = [];
  for (const request of wanted) expected.push(await alone(model, request));
  assertEquals(await Promise.all(wanted.map((request) => idsOf(batch.add(request)))), expected);
  model.dispose();
});

Deno.test("a request that no binding of the device holds is refused, and those beside it are answered", async () => {
  const { gpuDevice } = await ownDevice();
  const device = await Device.create({ device: gpuDevice, limits: { maxStorageBufferBindingSize: 2 ** 16 } });
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  const facts = { ...model.facts, maxPositions: 100_000 };
  using batch = new ContinuousBatch({ facts, device, lastLogits: (inputs) => model.lastLogits(inputs) });
  const request: BatchRequest = { prompt: [5, 7], maxNewTokens: 6, eosTokenId: [] };
  const fine = batch.add(request);
  assertThrows(
    () => batch.add({ ...request, maxNewTokens: 50_000 }),
    RangeError,
    "larger than one binding of the device",
  );
  assertEquals(await idsOf(fine), await alone(model, request));
  model.dispose();
});

Deno.test("requests to a model with dynamic rotary embeddings get what they get alone, whatever waits beside them", async () => {
  for (const fixture of ["llama_dynamic", "llama_dynamic_long"]) {
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/${fixture}`, {
      device: await ownDevice(),
    });
    const { vocabSize, maxPositions } = model.facts;
    using batch = new ContinuousBatch(model, { prefillTokens: 5 });
    const wanted: BatchRequest[] = [[5, 30], [9, 20], [30, 6], [12, 20]].map(([length, maxNewTokens]) => ({
      prompt: Array.from({ length }, (_, i) => (i * 7 + 1) % vocabSize),
      maxNewTokens: Math.min(maxNewTokens, maxPositions - length),
      eosTokenId: [],
    }));
    const expected = [];
    for (const request of wanted) expected.push(await alone(model, request));
    assertEquals(await Promise.all(wanted.map((request) => idsOf(batch.add(request)))), expected);
    model.dispose();
  }
});

Deno.test("rows of a continuous batch go through their own adapters, which come and go", async () => {
  const device = await ownDevice();
  const base = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/qwen3`, { device });
  const model = getPeftModel(base, new LoraConfig({ r: 3, targetModules: ["q_proj", "down_proj"] }), "a");
  await randomise(model, 3);
  model.addAdapter("b", new LoraConfig({ r: 5, targetModules: ["v_proj", "down_proj"] }));
  model.setAdapter("b");
  await randomise(model, 4);
  model.eval();
  using batch = new ContinuousBatch(base, {
    maxRows: 5,
    bindAdapters: (names) => bindAdapters(model, names),
  });
  const names = ["a", null, "b", "a", null, "b", "b"];
  const wanted = requests(7, base.facts.vocabSize, 12).map((request, i) => ({
    ...request,
    adapter: names[i],
  }));
  const expected = [];
  for (const request of wanted) {
    if (request.adapter === null) expected.push(await model.disableAdapter(() => alone(base, request)));
    else {
      model.setAdapter(request.adapter, { inferenceMode: true });
      expected.push(await alone(model as unknown as CausalLM, request));
    }
  }
  assert(new Set(expected.map(String)).size === 7);
  const found = wanted.map((request) => idsOf(batch.add(request)));
  assert(batch.uses("b") && !batch.uses("c"));
  assertEquals(await Promise.all(found), expected);
  assertEquals(batch.uses("b"), false);

  const lost = batch.add({ ...wanted[0], adapter: "gone" });
  const fine = batch.add(wanted[2]);
  await assertRejects(() => idsOf(lost), RangeError, "gone");
  assertEquals(await idsOf(fine), expected[2]);
  model.dispose();
});

for (const fixture of ["gpt2_tiny", "llama/mistral", "llama/gemma3"]) {
  Deno.test(`prompts of ${fixture} that begin alike are computed from where they differ, with the tokens that they get alone`, async () => {
    const device = await ownDevice();
    const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}${fixture}`, { device });
    const shared = Array.from({ length: 17 }, (_, i) => (i * 29 + 3) % model.facts.vocabSize);
    const ends = [[7, 8], [9], [7, 8, 10, 11, 12], [
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
      9,
      10,
      11,
      12,
      13,
      14,
      15,
      16,
      17,
      18,
      19,
    ], [7]];
    const prompts = [...ends.map((end) => [...shared, ...end]), shared.slice(0, 12), [5, 6, 7], shared];
    const wanted = prompts.map((prompt): BatchRequest => ({ prompt, maxNewTokens: 6, eosTokenId: [] }));
    const expected = [];
    for (const request of wanted) expected.push(await alone(model, request));
    const computed = computedPositions(model);
    using batch = new ContinuousBatch(model, { maxRows: 8, prefillTokens: 64 });
    assertEquals(await idsOf(batch.add(wanted[0])), expected[0]);
    assertEquals(computed(), 19 + 5);
    assertEquals(await Promise.all(wanted.map((request) => idsOf(batch.add(request)))), expected);
    computed();
    // A conversation goes on from the answer, of which all is known that was read when its row left.
    const next: BatchRequest = { ...wanted[0], prompt: [...prompts[0], ...expected[0], 3, 4] };
    assertEquals(await idsOf(batch.add(next)), await alone(model, next));
    const count = computed() - (next.prompt.length + 5); // without those of generate()
    assert(count - 5 >= 3 && count - 5 <= 6, `${count} positions`);
    batch.forgetPrompts();
    assertEquals(await idsOf(batch.add(wanted[0])), expected[0]);
    assertEquals(computed(), 19 + 5);
    model.dispose();
  });
}

Deno.test("what is kept of prompts stays below its bound, is not shared between adapters, and goes with the batch", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  const { numLayers, numKeyValueHeads, headSize } = model.facts;
  const tokenBytes = numLayers * 2 * numKeyValueHeads * headSize * 4;
  const live = device.memory.liveBytes;
  const batch = new ContinuousBatch(model, {
    promptCacheBytes: 60 * tokenBytes,
    bindAdapters: () => ({ run: (step) => step(), dispose() {} }),
  });
  const computed = computedPositions(model);
  const ask = (adapter: string | null, first: number) =>
    idsOf(
      batch.add({
        prompt: Array.from({ length: 20 }, (_, i) => first + i),
        maxNewTokens: 3,
        eosTokenId: [],
        adapter,
      }),
    );
  for (
    const [adapter, first, count] of [
      [null, 1, 20],
      [null, 1, 1],
      ["a", 1, 20],
      ["a", 1, 1],
      [null, 60, 20],
      ["b", 1, 20],
      [null, 1, 20],
    ] as const
  ) {
    await ask(adapter, first);
    assertEquals(computed(), count + 2, `${adapter} ${first}`);
    await pause(0);
    assert(device.memory.liveBytes - live <= 60 * tokenBytes * 1.25, "the bound, and the pool's rounding");
  }
  batch.dispose();
  assertEquals(device.memory.liveBytes, live);
  model.dispose();
});

Deno.test("an end token ends a request without being part of it; a cancelled one leaves the others alone", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  const request: BatchRequest = { prompt: [5, 17, 2], maxNewTokens: 30, eosTokenId: [] };
  const all = await alone(model, request);
  const end = all.findIndex((id, at) => at > 2 && !all.slice(0, at).includes(id));
  using batch = new ContinuousBatch(model, { maxRows: 3 });
  const ended = batch.add({ ...request, eosTokenId: [all[end]] });
  const whole = batch.add(request);
  const cancelled = batch.add(request);
  const waiting = batch.add(request);
  waiting.cancel();
  const part: number[] = [];
  for await (const { id } of cancelled) {
    part.push(id);
    if (part.length === 3) cancelled.cancel();
  }
  assertEquals(part, all.slice(0, part.length));
  assertEquals([cancelled.endReason, part.length < 30], ["cancelled", true]);
  assertEquals([await idsOf(ended), ended.endReason], [all.slice(0, end), "eos"]);
  assertEquals([await idsOf(whole), whole.endReason], [all, "length"]);
  assertEquals(await idsOf(waiting), []);
  model.dispose();
});

Deno.test("log-probabilities of a batch are those of the logits, in float64", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}llama/mistral`, { device });
  const prompt = [3, 9, 27];
  using batch = new ContinuousBatch(model);
  const beside = batch.add({ prompt: [1, 2], maxNewTokens: 9, eosTokenId: [] });
  const request = batch.add({ prompt, maxNewTokens: 4, eosTokenId: [], logProbs: 3, repetitionPenalty: 1.5 });
  let ids = prompt;
  for await (const { id, logProbs } of request) {
    using output = noGrad(() => model.eval().forward({ inputIds: [ids] }));
    const { vocabSize } = model.facts;
    const row = [...await output.logits.data()].slice(-vocabSize);
    const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
    const order = row.map((value, token) => ({ id: token, logProb: value - total })).sort((a, b) =>
      b.logProb - a.logProb
    );
    assertEquals(logProbs!.top.map((top) => top.id), order.slice(0, 3).map((top) => top.id));
    assertAllClose(logProbs!.top.map((top) => top.logProb), order.slice(0, 3).map((top) => top.logProb), {
      atol: 2e-5,
      rtol: 0,
    });
    assertAllClose([logProbs!.logProb], [row[id] - total], { atol: 2e-5, rtol: 0 });
    ids = [...ids, id];
  }
  assertEquals((await idsOf(beside)).length, 9);
  model.dispose();
});

Deno.test("a continuous batch refuses what cannot run, and numbers that are not finite end their own request alone", async () => {
  const device = await ownDevice();
  const model = await AutoModelForCausalLM.fromPretrained<CausalLM>(`${FIXTURES}gpt2_tiny`, { device });
  using batch = new ContinuousBatch(model);
  const fine: BatchRequest = { prompt: [1, 2], maxNewTokens: 3, eosTokenId: [] };
  for (
    const [change, message] of [
      [{ prompt: [] }, "at least one token"],
      [{ prompt: [1e6] }, "token ids from 0 to"],
      [{ maxNewTokens: 0 }, "maxNewTokens must be a positive integer"],
      [{ maxNewTokens: 5000 }, "Cannot generate 5000 tokens after 2"],
      [{ temperature: 0 }, "temperature must be a positive number"],
    ] as const
  ) assertThrows(() => batch.add({ ...fine, ...change }), Error, message);
  assertThrows(
    () => new ContinuousBatch(model, { maxRows: 0 }),
    RangeError,
    "maxRows must be a positive integer",
  );
  const named = batch.add({ ...fine, adapter: "a" });
  await assertRejects(() => idsOf(named), RangeError, `through adapter "a": the batch has no adapters`);

  const expected = await alone(model, fine);
  const { lastLogits } = model;
  model.lastLogits = (inputs) => {
    const logits = lastLogits.call(model, inputs);
    const ids = inputs.inputIds as number[][];
    const at = Array.isArray(ids) ? ids.findIndex((row) => row.at(-1) === 9) : -1;
    if (at >= 0) {
      const { vocabSize } = model.facts;
      using broken = Tensor.from(new Float32Array(vocabSize).fill(NaN), { device });
      device.copy(broken.view, logits.window(at * vocabSize * 4, vocabSize * 4));
    }
    return logits;
  };
  const broken = batch.add({ ...fine, prompt: [9] });
  const whole = batch.add(fine);
  await assertRejects(() => idsOf(broken), RangeError, "finite logits are required");
  assertEquals(await idsOf(whole), expected);
  batch.dispose();
  assertThrows(() => batch.add(fine), TypeError, "the batch was disposed");
  model.dispose();
});
