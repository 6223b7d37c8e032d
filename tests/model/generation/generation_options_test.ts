/**
 * noRepeatNgramSize and minP against `transformers` (tests/oracle/generation_options_fixture.py), and presencePenalty.
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { defaultDevice, Tensor, TokenSampler } from "../../../autograd/mod.ts";
import { resolveSampling, type SamplingOptions } from "../../../model/generation/sampling.ts";
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

Deno.test("generate() refuses minP, presencePenalty and noRepeatNgramSize out of range", async () => {
  const model = await loadFixture("gpt2_tiny", { device: await ownDevice() });
  const refused: [object, string][] = [
    [{ minP: 1.5 }, "minP must be a number from 0 to 1, received 1.5"],
    [{ presencePenalty: NaN }, "presencePenalty must be a number, received NaN"],
    [{ noRepeatNgramSize: 1.5 }, "noRepeatNgramSize must be an integer of at least 0, received 1.5"],
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
