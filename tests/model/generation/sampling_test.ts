import { assert, assertAllClose, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { defaultDevice, exp, Tensor, TokenSampler } from "../../../autograd/mod.ts";
import { resolveSampling, type SamplingOptions } from "../../../model/generation/sampling.ts";

/**
 * The distribution that transformers' logits processors leave, in float64: repetition penalty, temperature, top-k
 * (ties with the k-th stay), top-p (fewest tokens whose probabilities sum to at least p), softmax.
 */
function distribution(logits: readonly number[], row: readonly number[], options: SamplingOptions): number[] {
  const { temperature = 1, topK = 50, topP = 1, repetitionPenalty = 1 } = options;
  let scores = logits.map((x, id) =>
    row.includes(id) ? x < 0 ? x * repetitionPenalty : x / repetitionPenalty : x
  );
  scores = scores.map((x) => x / temperature);
  if (topK > 0) {
    const kth = scores.toSorted((a, b) => b - a)[Math.min(topK, scores.length) - 1];
    scores = scores.map((x) => x < kth ? -Infinity : x);
  }
  const softmax = (x: readonly number[]) => {
    const high = Math.max(...x);
    const e = x.map((v) => Math.exp(v - high));
    const total = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / total);
  };
  const p = softmax(scores);
  if (topP < 1) {
    // transformers: ascending, removed while the sum so far is at most 1 - p; the last always stays
    const ascending = p.map((_, id) => id).sort((a, b) => p[a] - p[b] || b - a);
    let below = 0;
    ascending.slice(0, -1).forEach((id) => {
      below += p[id];
      if (below <= 1 - topP) scores[id] = -Infinity;
    });
  }
  return softmax(scores);
}

const LOGITS = [2, -1, 0.5, 1.9, 0.4, -3, 1.1, 0.9, -0.2, 1.8];
const TIED = LOGITS.with(3, 2);
const ROW = [0, 1, 1, 6];
const DRAWS = 1500;

/** First tokens that the device chooses for `count` rows of the same logits. */
async function choose(
  logits: readonly number[],
  row: readonly number[],
  options: SamplingOptions,
  count: number,
): Promise<number[]> {
  const device = await defaultDevice();
  const sampler = new TokenSampler(device, {
    ...resolveSampling(options),
    prompts: Array.from({ length: count }, () => row),
    vocabSize: logits.length,
    maxSteps: 1,
    endTokens: [],
    padToken: 0,
    seed: 3,
  });
  using tensor = Tensor.from(Array.from({ length: count }, () => [...logits]), { device });
  sampler.sample(tensor);
  const [chosen] = await sampler.read(0, 1);
  sampler.dispose();
  return chosen;
}

Deno.test("TokenSampler draws from the distribution of transformers' processors", async () => {
  const cases: [SamplingOptions, readonly number[]][] = [
    [{}, LOGITS],
    [{ temperature: 0.5 }, LOGITS],
    [{ temperature: 2.5 }, LOGITS],
    [{ topK: 3 }, LOGITS],
    [{ topK: 1 }, TIED],
    [{ topK: 0 }, TIED],
    [{ topK: 100 }, LOGITS],
    [{ topP: 0.9 }, LOGITS],
    [{ topP: 0.5 }, LOGITS],
    [{ topP: 0.01 }, LOGITS],
    [{ repetitionPenalty: 1.5 }, LOGITS],
    [{ repetitionPenalty: 0.7, temperature: 1.3, topK: 6, topP: 0.8 }, LOGITS],
  ];
  for (const [options, logits] of cases) {
    const chosen = await choose(logits, ROW, { doSample: true, ...options }, DRAWS);
    const counts = logits.map((_, id) => chosen.filter((token) => token === id).length);
    const expected = distribution(logits, ROW, options);
    counts.forEach((count, id) => {
      const p = expected[id];
      const label = `${JSON.stringify(options)}: token ${id} drawn ${count} times, expected ${p * DRAWS}`;
      if (p === 0) assertEquals(count, 0, label);
      else assert(Math.abs(count - p * DRAWS) <= 5 * Math.sqrt(DRAWS * p * (1 - p)) + 1, label);
    });
  }
});

Deno.test("TokenSampler leaves out the next token where the ones before it reach exactly topP", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([-1], { device });
  using e = exp(x);
  const [mass] = await e.data(); // of the second token, as this driver computes it
  const total = Math.fround(1 + mass);
  // Of the numbers float32 has near 1 / total, the one whose product with it rounds to the first token's mass, 1.
  const near = Math.fround(1 / total);
  const topP = [-2, -1, 0, 1, 2].map((n) => Math.fround(near + n * 2 ** -24))
    .find((p) => Math.fround(p * total) === 1);
  assert(topP !== undefined);
  const first = await choose([0, -1], [], { doSample: true, topK: 0, topP }, 100);
  assertEquals(new Set(first), new Set([0]));
  const both = await choose([0, -1], [], { doSample: true, topK: 0, topP: topP + 1e-6 }, 100);
  assertEquals(new Set(both), new Set([0, 1]));
});

Deno.test("TokenSampler without sampling takes the maximum, the first on ties, after the penalty", async () => {
  assertEquals(await choose(TIED, [], {}, 2), [0, 0]);
  assertEquals(await choose(TIED, [0, 3], { repetitionPenalty: 1.5 }, 1), [9]);
  assertEquals(await choose([-1, -1.2], [0], { repetitionPenalty: 1.5 }, 1), [1], "negative logits fall too");
  const wide = Array.from({ length: 1021 }, (_, i) => Math.sin(i) - (i === 700 ? -3 : 0));
  assertEquals(await choose(wide, [], {}, 3), [700, 700, 700]);
});

Deno.test("TokenSampler never draws a token of no probability, in any part of a large vocabulary", async () => {
  const logits = new Array(50257).fill(-1e30);
  const kept = [0, 17, 300, 25_000, 50_256];
  for (const id of kept) logits[id] = -2;
  const chosen = await choose(logits, [], { doSample: true, topK: 0 }, 60);
  assert(chosen.every((id) => kept.includes(id)));
  assertEquals(new Set(chosen).size, kept.length);
  const narrowed = await choose(logits, [], { doSample: true, topK: 50, topP: 0.95 }, 20);
  assert(narrowed.every((id) => kept.includes(id)));
});

Deno.test("TokenSampler keeps to topK and topP in a vocabulary of 262,144 words", async () => {
  const size = 262_144;
  const logits = Array.from({ length: size }, (_, i) => 4 * Math.sin(i * 0.37) + (i * 7919 % size) / size);
  // Likely ones all over the vocabulary, each thread's first and last words among them.
  const likely = [0, 1023, 1024, 65_535, 65_536, 131_071, 196_608, 261_120, 262_143];
  likely.forEach((id, n) => logits[id] = 20 - 0.4 * n);
  const options = { doSample: true, topK: 7, topP: 0.8, temperature: 1.2 };
  // The distribution of the likely ones alone: topK leaves out all others.
  const expected = distribution(likely.map((id) => logits[id]), [], options);
  const count = 60;
  const chosen = await choose(logits, [], options, count);
  likely.forEach((id, n) => {
    const drawn = chosen.filter((token) => token === id).length;
    const deviation = Math.sqrt(count * expected[n] * (1 - expected[n]));
    assert(
      Math.abs(drawn - count * expected[n]) <= 4 * deviation,
      `${id}: ${drawn} of ${count * expected[n]}`,
    );
  });
  assertEquals(chosen.filter((token) => !likely.includes(token)), []);
  const device = await defaultDevice();
  if (device.maxLoopIterations !== Infinity) {
    const sampling = {
      ...resolveSampling(options),
      prompts: [[0]],
      maxSteps: 1,
      endTokens: [],
      padToken: 0,
      seed: 0,
    };
    assertThrows(
      () => new TokenSampler(device, { ...sampling, vocabSize: 500_000 }),
      RangeError,
      "Cannot sample from 500000 tokens",
    );
  }
});

Deno.test("TokenSampler refuses rows with NaN or +infinity and rows of -infinity alone, and takes -infinity in others", async () => {
  const wide = new Array<number>(600).fill(1);
  for (const doSample of [false, true]) {
    for (const bad of [NaN, Infinity]) {
      for (const place of [0, 3, 599]) {
        const error = await assertRejects(
          () => choose(wide.with(place, bad), [], { doSample }, 1),
          RangeError,
        );
        assert(error.message.includes("finite logits are required"), error.message);
      }
    }
    await assertRejects(
      () => choose(wide.map(() => -Infinity), [], { doSample }, 1),
      RangeError,
      "finite logits",
    );
    assertEquals(await choose(wide.map((_, i) => i === 300 ? 2 : -Infinity), [], { doSample }, 2), [
      300,
      300,
    ]);
  }
});

Deno.test("TokenSampler fills up rows that ended and keeps every step's tokens", async () => {
  const device = await defaultDevice();
  const sampler = new TokenSampler(device, {
    ...resolveSampling({}),
    prompts: [[0], [0]],
    vocabSize: 4,
    maxSteps: 3,
    endTokens: [2],
    padToken: 1,
    seed: 0,
  });
  for (
    const rows of [[[0, 0, 5, 0], [0, 0, 0, 5]], [[5, 0, 0, 0], [5, 0, 0, 0]], [[0, 0, 0, 5], [0, 0, 5, 0]]]
  ) {
    using logits = Tensor.from(rows, { device });
    sampler.sample(logits);
  }
  assertEquals(await sampler.read(0, 3), [[2, 3], [1, 0], [1, 2]]);
  assertEquals(await sampler.read(1, 2), [[1, 0]]);
  using wrong = Tensor.from([[1, 2, 3]], { device });
  assertThrows(() => sampler.sample(wrong), TypeError, "logits [2, 4] are required, received [1, 3]");
  sampler.dispose();
});

Deno.test("resolveSampling() has transformers' defaults", () => {
  assertEquals(resolveSampling({}), {
    doSample: false,
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    presencePenalty: 0,
    noRepeatNgramSize: 0,
  });
  assertEquals(resolveSampling({ doSample: true }).topK, 50);
  assertAllClose(distribution([0, 0], [], {}), [0.5, 0.5]);
});
