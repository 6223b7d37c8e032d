/**
 * Options of generate() against `transformers` (tests/oracle/generation_options_fixture.py), and presencePenalty.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { defaultDevice, Tensor, TokenSampler } from "../../../autograd/mod.ts";
import { type GenerateOptions, KVCache } from "../../../model/mod.ts";
import { resolveSampling, type SamplingOptions } from "../../../model/generation/sampling.ts";
import { getPeftModel, LoraConfig } from "../../../peft/mod.ts";
import { FIXTURES, loadFixture, ownDevice } from "../../reference/fixtures.ts";

interface Json {
  prompts: number[][];
  padded: number[][];
  mask: number[][];
  logits: number[];
  runs: {
    no_repeat_ngram_size: number;
    repetition_penalty?: number;
    num_beams?: number;
    padded?: boolean;
    ids: number[][];
  }[];
  /** A token that greedy search comes to. */
  eos: number;
  bans: {
    padded?: boolean;
    ids: number[][];
    min_new_tokens?: number;
    suppress_tokens?: number[];
    bad_words_ids?: number[][];
    no_repeat_ngram_size?: number;
    max_length?: number;
    num_beams?: number;
    num_return_sequences?: number;
    early_stopping?: boolean;
    length_penalty?: number;
  }[];
  draws: { min_p: number; top_k?: number; top_p?: number; temperature?: number; probabilities: number[] }[];
}

const json = JSON.parse(await Deno.readTextFile(`${FIXTURES}gpt2_tiny/generation_options.json`)) as Json;

/** Tokens that the device chooses for `count` rows, in as many steps as there are lists of logits. */
async function choose(
  steps: readonly (readonly number[])[],
  row: readonly number[],
  options: SamplingOptions,
  count = 1,
): Promise<number[][]> {
  const device = await defaultDevice();
  const rows = Array.from({ length: count }, () => row);
  const limits = { maxSteps: steps.length, endTokens: [], padToken: 0, vocabSize: steps[0].length };
  const sampler = new TokenSampler(device, {
    ...resolveSampling(options),
    ...limits,
    prompts: rows,
    seed: 3,
  });
  for (const logits of steps) {
    using tensor = Tensor.from(rows.map(() => [...logits]), { device });
    sampler.sample(tensor);
  }
  const chosen = await sampler.read(0, steps.length);
  sampler.dispose();
  return chosen;
}

for (const { ids, ...test } of json.runs) {
  Deno.test(`generate() with ${JSON.stringify(test)} gives transformers' tokens`, async () => {
    const device = await ownDevice();
    const model = await loadFixture("gpt2_tiny", { device });
    const live = device.memory.liveBytes;
    const inputs = test.padded ? { inputIds: json.padded, attentionMask: json.mask } : json.prompts;
    for (const useCache of [true, false]) {
      const found = await model.generate(inputs, {
        maxNewTokens: 16,
        noRepeatNgramSize: test.no_repeat_ngram_size,
        repetitionPenalty: test.repetition_penalty,
        numBeams: test.num_beams,
        eosTokenId: null,
        padTokenId: 256,
        useCache,
      });
      assertEquals(found, ids);
    }
    assertEquals(device.memory.liveBytes, live, "nothing is left");
    model.dispose();
  });
}

for (const { ids, padded, ...given } of json.bans) {
  const test = { ...given, ...padded && { padded } };
  Deno.test(`generate() that may end with ${JSON.stringify(test)} gives transformers' tokens`, async () => {
    const device = await ownDevice();
    const model = await loadFixture("gpt2_tiny", { device });
    const live = device.memory.liveBytes;
    const inputs = padded ? { inputIds: json.padded, attentionMask: json.mask } : json.prompts;
    const options: GenerateOptions = {
      ...given.max_length === undefined && { maxNewTokens: 16 },
      maxLength: given.max_length,
      minNewTokens: given.min_new_tokens,
      suppressTokens: given.suppress_tokens,
      badWordsIds: given.bad_words_ids,
      noRepeatNgramSize: given.no_repeat_ngram_size,
      numBeams: given.num_beams,
      numReturnSequences: given.num_return_sequences,
      earlyStopping: given.early_stopping,
      lengthPenalty: given.length_penalty,
      eosTokenId: json.eos,
      padTokenId: 256,
    };
    for (const useCache of [true, false]) {
      assertEquals(await model.generate(inputs, { ...options, useCache }), ids, `useCache ${useCache}`);
    }
    if (given.num_beams === undefined) {
      const pastKeyValues = new KVCache(model, device, 2, 64);
      assertEquals(await model.generate(inputs, { ...options, pastKeyValues }), ids, "pastKeyValues");
      pastKeyValues.dispose();
    }
    assertEquals(device.memory.liveBytes, live, "nothing is left");
    model.dispose();
  });
}

Deno.test("generate() bans the end of a longer word in the rows that end in its other tokens, and in no other", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const { length } = json.prompts[0];
  const options: GenerateOptions = { maxNewTokens: 16, eosTokenId: null };
  const free = await model.generate(json.prompts, options);
  const hasWord = (row: readonly number[], [a, b]: readonly number[]) =>
    row.some((id, i) => i >= length && row[i - 1] === a && id === b);
  for (const [row, other] of [[0, 1], [1, 0]]) {
    const words = free[row].slice(length).map((id, i) => [free[row][length + i - 1], id]);
    const word = words.find((each) => !hasWord(free[other], each))!;
    const banned: GenerateOptions = { ...options, badWordsIds: [word] };
    const found = await model.generate(json.prompts, banned);
    assertEquals(found[other], free[other], `row ${other} without the word of row ${row}`);
    assertEquals([hasWord(free[row], word), hasWord(found[row], word)], [true, false], `row ${row}`);
    assertEquals(found[row], (await model.generate([json.prompts[row]], banned))[0], `row ${row} alone`);
  }
  model.dispose();
});

Deno.test("generate() with numReturnSequences draws each answer by itself, next to those of its prompt", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const options = { doSample: true, temperature: 2, seed: 4, maxNewTokens: 8, eosTokenId: null };
  const rows = await model.generate(json.prompts, { ...options, numReturnSequences: 3 });
  const repeated = json.prompts.flatMap((row) => [row, row, row]);
  assertEquals(rows.map((row) => row.slice(0, 5)), repeated);
  assertEquals(new Set(rows.map(String)).size, 6);
  assertEquals(rows, await model.generate(repeated, options), "as if each prompt stood there three times");
  const masked = { inputIds: json.padded, attentionMask: json.mask };
  const twice = await model.generate(masked, { ...options, numReturnSequences: 2 });
  const [first, second] = json.padded.map((row, i) => ({ row, mask: json.mask[i] }));
  const four = [first, first, second, second];
  const inputs = { inputIds: four.map(({ row }) => row), attentionMask: four.map(({ mask }) => mask) };
  assertEquals(twice, await model.generate(inputs, options));
  model.dispose();
});

Deno.test("generate() with numReturnSequences gives each prompt's answers its own adapter", async () => {
  const device = await ownDevice();
  const base = await loadFixture("gpt2_tiny", { device });
  const config = new LoraConfig({ r: 4, targetModules: ["c_attn"], initLoraWeights: false });
  const model = getPeftModel(base, config, "a").eval();
  const options = { doSample: true, temperature: 2, seed: 4, maxNewTokens: 6, eosTokenId: null };
  const names = ["a", "__base__"];
  const rows = await model.generate(json.prompts, { ...options, adapterNames: names, numReturnSequences: 2 });
  const four = json.prompts.flatMap((row) => [row, row]);
  const adapterNames = names.flatMap((name) => [name, name]);
  assertEquals(rows, await model.generate(four, { ...options, adapterNames }));
  for (const numReturnSequences of [0, 1.5, -1]) {
    await assertRejects(
      () => model.generate(json.prompts, { ...options, adapterNames: names, numReturnSequences }),
      RangeError,
      `numReturnSequences must be a positive integer, received ${numReturnSequences}`,
    );
  }
  model.dispose();
});

Deno.test("TokenSampler with minP draws from the distribution of transformers' processors", async () => {
  const count = 1500;
  for (const { probabilities, ...test } of json.draws) {
    const options = {
      doSample: true,
      minP: test.min_p,
      topK: test.top_k ?? 0,
      topP: test.top_p,
      temperature: test.temperature,
    };
    const [chosen] = await choose([json.logits], [], options, count);
    probabilities.forEach((p, id) => {
      const drawn = chosen.filter((token) => token === id).length;
      const label = `${JSON.stringify(test)}: token ${id} drawn ${drawn} times, expected ${p * count}`;
      if (p === 0) assertEquals(drawn, 0, label);
      else assert(Math.abs(drawn - p * count) <= 5 * Math.sqrt(count * p * (1 - p)) + 1, label);
    });
  }
});

Deno.test("TokenSampler with presencePenalty lowers tokens that were chosen once, and the prompt's not at all", async () => {
  const logits = [3, 2.5, 1.2, -4];
  const four = [logits, logits, logits, logits];
  // token 0 of the prompt is not lowered; then 3 - 1 < 2.5; then 2.5 - 1 < 2; a second time lowers nothing further
  assertEquals((await choose(four, [0], { presencePenalty: 1 })).flat(), [0, 1, 0, 0]);
  assertEquals((await choose(four, [0], {})).flat(), [0, 0, 0, 0]);
  assertEquals((await choose(four, [], { presencePenalty: -5 })).flat(), [0, 0, 0, 0]);
  // repetition first: 3 / 2 - 0.4 = 1.1, 2.5 / 2 - 0.4 = 0.85
  const both = { presencePenalty: 0.4, repetitionPenalty: 2 };
  assertEquals((await choose(four, [], both)).flat(), [0, 1, 2, 0]);
});

Deno.test("generate() refuses options out of range", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const refused: [object, string][] = [
    [{ minP: 1.5 }, "minP must be a number from 0 to 1, received 1.5"],
    [{ presencePenalty: NaN }, "presencePenalty must be a number, received NaN"],
    [{ noRepeatNgramSize: 1.5 }, "noRepeatNgramSize must be an integer of at least 0, received 1.5"],
    [
      { numReturnSequences: 2 },
      "numReturnSequences above 1 needs doSample or numBeams, received 2 without them",
    ],
    [{ numReturnSequences: 3, numBeams: 2 }, "numReturnSequences must be at most numBeams (2), received 3"],
    [{ numReturnSequences: 0 }, "numReturnSequences must be a positive integer, received 0"],
    [{ maxLength: 5 }, "maxLength must be an integer above the 5 tokens of the prompt, received 5"],
    [{ maxLength: 7.5 }, "maxLength must be an integer above the 5 tokens of the prompt, received 7.5"],
    [{ minNewTokens: -1 }, "minNewTokens must be an integer of at least 0, received -1"],
    [{ suppressTokens: [256 + 1] }, "suppressTokens must be token ids from 0 to 256, received [257]"],
    [{ suppressTokens: 3 }, "suppressTokens must be token ids from 0 to 256, received 3"],
    [{ badWordsIds: [[1], []] }, "badWordsIds must be lists of token ids from 0 to 256, received [[1],[]]"],
    [{ badWordsIds: [1] }, "badWordsIds must be lists of token ids from 0 to 256, received [1]"],
    [{ numBeams: 2, presencePenalty: 1 }, "beam search has no presencePenalty, received one"],
  ];
  for (const [options, message] of refused) {
    await assertRejects(
      () => model.generate(json.prompts, options),
      RangeError,
      `Cannot generate: ${message}`,
    );
  }
  model.dispose();
});
