import { assert, assertEquals, assertRejects } from "@std/assert";
import { Tensor } from "../../../autograd/mod.ts";
import { type GenerateOptions, GPT2Config, GPT2LMHeadModel } from "../../../model/mod.ts";
import { expectedOf, loadFixture, ownDevice } from "../../reference/fixtures.ts";

/** `generation` of gpt2_tiny's `expected.json`. */
interface Json {
  generation: {
    prompts: number[][];
    greedy: number[][];
    left_padded: { input_ids: number[][]; attention_mask: number[][]; greedy: number[][] };
    "repetition_penalty_1.3": number[];
    stop: { eos_token_id: number; pad_token_id: number; greedy: number[]; left_padded_greedy: number[][] };
  };
}

const device = await ownDevice();
const model = await loadFixture("gpt2_tiny", { device });
const { generation } = (await expectedOf<Json>("gpt2_tiny")).json;
const { prompts, left_padded } = generation;
const GREEDY = { maxNewTokens: 30, eosTokenId: null, padTokenId: 0 } as const;

Deno.test("generate() picks transformers' greedy tokens, with and without a cache", async () => {
  for (const [i, prompt] of prompts.entries()) {
    assertEquals(await model.generate([prompt], GREEDY), [generation.greedy[i]]);
    assertEquals(await model.generate([prompt], { ...GREEDY, useCache: false }), [generation.greedy[i]]);
  }
});

Deno.test("generate() of a left-padded batch picks transformers' tokens", async () => {
  const inputs = { inputIds: left_padded.input_ids, attentionMask: left_padded.attention_mask };
  assertEquals(await model.generate(inputs, GREEDY), left_padded.greedy);
  assertEquals(await model.generate(inputs, { ...GREEDY, useCache: false }), left_padded.greedy);
  const width = left_padded.input_ids[0].length;
  left_padded.greedy.forEach((row, i) => {
    assertEquals(row.slice(width), generation.greedy[i].slice(prompts[i].length), "as each row alone");
  });
});

Deno.test("generate() with a repetition penalty picks transformers' tokens", async () => {
  const ids = await model.generate([prompts[0]], { ...GREEDY, repetitionPenalty: 1.3 });
  assertEquals(ids.flat(), [generation["repetition_penalty_1.3"]].flat(2));
});

Deno.test("generate() stops at an end token and fills up with the pad token", async () => {
  const { eos_token_id: eosTokenId, pad_token_id: padTokenId, greedy, left_padded_greedy } = generation.stop;
  const options = { maxNewTokens: 30, eosTokenId, padTokenId };
  assertEquals((await model.generate([prompts[0]], options)).flat(), [greedy].flat(2));
  const inputs = { inputIds: left_padded.input_ids, attentionMask: left_padded.attention_mask };
  assertEquals(await model.generate(inputs, options), left_padded_greedy);
  const several = await model.generate([prompts[0]], { ...options, eosTokenId: [255, eosTokenId] });
  assertEquals(several.flat(), [greedy].flat(2));
});

Deno.test("generate() leaves no bytes behind, and the model and its mode as they were", async () => {
  const before = device.memory.liveBytes;
  await model.generate([prompts[0]], { maxNewTokens: 5 });
  assertEquals(device.memory.liveBytes, before);
  model.train();
  await model.generate([prompts[0]], { maxNewTokens: 2 });
  assert(model.training && model.transformer.h[1].attn.training);
  model.eval();
  const broken = { put: () => Promise.reject(), end: () => {} };
  broken.put = () => {
    throw new Error("the reader went away");
  };
  model.train();
  await assertRejects(
    () => model.generate([prompts[0]], { maxNewTokens: 2, streamer: broken }),
    Error,
    "the reader went away",
  );
  assert(model.training);
  model.eval();
  assertEquals(device.memory.liveBytes, before);
});

Deno.test("generate() makes twenty tokens by default and keeps the prompt it was given", async () => {
  const prompt = [...prompts[1]];
  const [ids] = await model.generate([prompt], { eosTokenId: null });
  assertEquals(ids.length, prompt.length + 20);
  assertEquals(prompt, prompts[1]);
});

Deno.test("generate() streams each token as it is chosen", async () => {
  const seen: number[][] = [];
  let ended = 0;
  const streamer = { put: (tokens: readonly number[]) => seen.push([...tokens]), end: () => ended++ };
  const ids = await model.generate([prompts[0], prompts[0]], { ...GREEDY, maxNewTokens: 4, streamer });
  assertEquals(seen, [0, 1, 2, 3].map((i) => ids.map((row) => row[prompts[0].length + i])));
  assertEquals(ended, 1);
});

Deno.test("generate() fills the model's positions exactly and refuses one token more", async () => {
  const prompt = prompts[0];
  const room = 64 - prompt.length;
  const [ids] = await model.generate([prompt], { eosTokenId: null, maxNewTokens: room });
  assertEquals(ids.length, 64);
  await assertRejects(
    () => model.generate([prompt], { maxNewTokens: room + 1 }),
    RangeError,
    `Cannot generate ${room + 1} tokens after ${prompt.length}: n_positions 64 allows ${room}`,
  );
});

Deno.test("generate() draws the same tokens for the same seed and others for another", async () => {
  const draw = async (options: GenerateOptions) =>
    (await model.generate(prompts.map((p) => p.slice(0, 4)), {
      doSample: true,
      eosTokenId: null,
      maxNewTokens: 12,
      ...options,
    })).join();
  const base = await draw({ seed: 7 });
  assertEquals(await draw({ seed: 7 }), base);
  assertEquals(await draw({ seed: 7, useCache: false }), base);
  assert(await draw({ seed: 8 }) !== base);
  assert(await draw({ seed: 7, temperature: 3 }) !== base);
  const first = await draw({ seed: 1, topK: 1 });
  assertEquals(await draw({ seed: 2, topK: 1 }), first, "only the most likely token is left");
  assertEquals(await draw({ seed: 3, topP: 1e-9 }), first);
  assertEquals(await draw({ seed: 4, temperature: 1e-6 }), first);
});

Deno.test("generate() refuses options and prompts that make no sense", async () => {
  const before = device.stats.dispatches;
  const cases: [GenerateOptions, string][] = [
    [{ maxNewTokens: 0 }, "Cannot generate: maxNewTokens must be a positive integer, received 0"],
    [{ maxNewTokens: 1.5 }, "maxNewTokens must be a positive integer, received 1.5"],
    [{ temperature: 0 }, "Cannot generate: temperature must be a positive number, received 0"],
    [{ temperature: NaN }, "temperature must be a positive number, received NaN"],
    [{ topK: -1 }, "topK must be an integer of at least 0, received -1"],
    [{ topP: 0 }, "topP must be above 0 and at most 1, received 0"],
    [{ topP: 1.1 }, "topP must be above 0 and at most 1, received 1.1"],
    [{ repetitionPenalty: 0 }, "repetitionPenalty must be a positive number, received 0"],
  ];
  for (const [options, message] of cases) {
    await assertRejects(() => model.generate([[1]], options), RangeError, message);
  }
  await assertRejects(() => model.generate([]), TypeError, "Cannot use inputIds: at least one row");
  await assertRejects(() => model.generate([[1, 2], [1]]), TypeError, "rows must be equally long");
  await assertRejects(
    () => model.generate({ inputIds: [[1, 2], [3, 0]], attentionMask: [[1, 1], [1, 0]] }),
    RangeError,
    'Cannot generate: prompts must be padded on the left (tokenizer.paddingSide = "left"), row 1 ends in padding',
  );
  using ids = Tensor.from(Int32Array.of(1), { device, shape: [1, 1] });
  await assertRejects(
    () => model.generate({ inputIds: ids }),
    TypeError,
    "on the host (number[][]) are required",
  );
  assertEquals(device.stats.dispatches, before, "all before any GPU work");
  await assertRejects(() => model.generate([[257]]), RangeError, "received 257 at [0, 0]");
});

Deno.test("generate() of logits that are not finite is an error", async () => {
  const config = new GPT2Config({ vocabSize: 11, nPositions: 8, nEmbd: 8, nLayer: 1, nHead: 2 });
  const own = await ownDevice();
  const broken = new GPT2LMHeadModel(config, { device: own });
  broken.transformer.ln_f.weight.write(new Float32Array(8).fill(NaN));
  for (const doSample of [false, true]) {
    await assertRejects(
      () => broken.generate([[1, 2]], { doSample, maxNewTokens: 2 }),
      RangeError,
      "Cannot choose the next token",
    );
  }
  broken.dispose();
  assertEquals(own.memory.liveBytes, 0);
});
