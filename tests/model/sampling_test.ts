import { assert, assertAllClose, assertEquals } from "@std/assert";
import { HostRandom } from "../../autograd/mod.ts";
import { argmax, chooseToken, resolveSampling, type SamplingOptions } from "../../model/sampling.ts";

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

const LOGITS = [2, -1, 0.5, 2, 0.4, -3, 1.1, 0.9, -0.2, 1.8];
const ROW = [0, 1, 1, 6];
const DRAWS = 20_000;

Deno.test("chooseToken() draws from the distribution of transformers' processors", () => {
  const cases: SamplingOptions[] = [
    {},
    { temperature: 0.5 },
    { temperature: 2.5 },
    { topK: 3 },
    { topK: 1 }, // two tokens tie for the first place
    { topK: 0 },
    { topK: 100 },
    { topP: 0.9 },
    { topP: 0.5 },
    { topP: 0.01 },
    { repetitionPenalty: 1.5 },
    { repetitionPenalty: 0.7, temperature: 1.3, topK: 6, topP: 0.8 },
  ];
  for (const options of cases) {
    const sampling = resolveSampling({ doSample: true, ...options });
    const random = new HostRandom(3);
    const counts = new Array(LOGITS.length).fill(0);
    for (let i = 0; i < DRAWS; i++) counts[chooseToken(Float32Array.from(LOGITS), ROW, sampling, random)]++;
    const expected = distribution(LOGITS, ROW, options);
    counts.forEach((count, id) => {
      const p = expected[id];
      const label = `${JSON.stringify(options)}: token ${id} drawn ${count} times, expected ${p * DRAWS}`;
      if (p === 0) assertEquals(count, 0, label);
      else assert(Math.abs(count - p * DRAWS) <= 5 * Math.sqrt(DRAWS * p * (1 - p)) + 1, label);
    });
  }
});

Deno.test("chooseToken() without sampling takes the maximum, the first on ties, after the penalty", () => {
  const greedy = resolveSampling({});
  const random = new HostRandom(0);
  assertEquals(chooseToken(Float32Array.from(LOGITS), [], greedy, random), 0);
  assertEquals(argmax([1, 3, 3, 2]), 1);
  assertEquals(argmax([-5]), 0);
  const penalised = resolveSampling({ repetitionPenalty: 1.5 });
  assertEquals(chooseToken(Float32Array.from(LOGITS), [0, 3], penalised, random), 9);
  assertEquals(chooseToken(Float32Array.of(-1, -1.2), [0], penalised, random), 1, "negative logits fall too");
});

Deno.test("chooseToken() of a masked vocabulary never draws a hidden token", () => {
  const sampling = resolveSampling({ doSample: true, topK: 0 });
  const random = new HostRandom(1);
  const logits = new Float32Array(50).fill(-Infinity);
  logits[17] = -2;
  logits[30] = -2;
  for (let i = 0; i < 200; i++) {
    assert([17, 30].includes(chooseToken(logits.slice(), [], sampling, random)));
  }
});

Deno.test("resolveSampling() has transformers' defaults", () => {
  assertEquals(resolveSampling({}), {
    doSample: false,
    temperature: 1,
    topK: 0,
    topP: 1,
    repetitionPenalty: 1,
  });
  assertEquals(resolveSampling({ doSample: true }).topK, 50);
  assertAllClose(distribution([0, 0], [], {}), [0.5, 0.5]);
});
