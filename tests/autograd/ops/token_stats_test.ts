/** Token measures and mean logits, which are made without whole logits, at vocabularies of models. */
import { assert, assertAllClose, assertEquals } from "@std/assert";
import {
  defaultDevice,
  headChunk,
  linearCrossEntropy,
  linearLogProbs,
  linearMeanLogits,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { collectingTokenStats, TOKEN_STATS } from "../../../autograd/ops/_token_stats.ts";
import { fromHalfBits, randomValues, toHalfBits } from "../../reference/matmul.ts";

const COLS = 8;

/** What is known of the logits of one row, in float64. */
function rowOf(hidden: Float32Array, weight: ArrayLike<number>, r: number) {
  const logits = new Float64Array(weight.length / COLS);
  for (let v = 0; v < logits.length; v++) {
    for (let c = 0; c < COLS; c++) logits[v] += hidden[r * COLS + c] * weight[v * COLS + c];
  }
  const best = logits.reduce((best, logit, v) => logit > logits[best] ? v : best, 0);
  let [total, weighted, sum] = [0, 0, 0];
  for (const logit of logits) {
    const d = logit - logits[best];
    total += Math.exp(d);
    weighted += d * Math.exp(d);
    sum += logit;
  }
  return { best, entropy: Math.log(total) - weighted / total, mean: sum / logits.length };
}

for (const [V, rows] of [[50_257, 70], [262_144, 66]]) {
  Deno.test(`token losses over ${V} words count hits and entropies in the chunks of the head, and mean logits need none`, async () => {
    const device = await defaultDevice();
    const hidden = randomValues(2, rows * COLS).map((v) => 4 * v);
    const values = randomValues(3, V * COLS).map((v) => v + 0.25); // a mean that is not 0
    const expected = Array.from({ length: rows }, (_, r) => rowOf(hidden, values, r));
    // hits, the last word, no label, other words
    const labels = expected.map(({ best }, r) => [best, V - 1, -100, (r * 7919) % V][r % 4]);
    const counted = expected.filter((_, r) => labels[r] >= 0);
    const hits = expected.filter(({ best }, r) => labels[r] === best);
    using x = Tensor.from(hidden, { device, shape: [rows, COLS] });
    using weight = Tensor.from(values, { device, shape: [V, COLS] });
    using targets = Tensor.from(Int32Array.from(labels), { device });
    assertEquals(headChunk(device, rows, V).chunk < rows, V > 100_000, "more than one chunk");
    for (const loss of [linearCrossEntropy, linearLogProbs]) {
      using sums = Tensor.from(new Float32Array(TOKEN_STATS), { device });
      tidy(() => void collectingTokenStats(sums, () => loss(x, weight, targets)));
      const [targetCount, hitCount, entropies] = await sums.data();
      assertEquals([targetCount, hitCount], [counted.length, hits.length], loss.name);
      const total = counted.reduce((sum, { entropy }) => sum + entropy, 0);
      assertAllClose([entropies], [total], { rtol: 2e-6 });
    }
    using means = linearMeanLogits(x, weight);
    assertEquals(means.shape, [rows, 1]);
    // each column of the mean row is a sum of V float32 numbers
    assertAllClose(await means.data(), expected.map(({ mean }) => mean), { rtol: 1e-5, atol: 1e-5 });
    assert(hits.length < counted.length);
  });
}

Deno.test("linearMeanLogits() takes weights in float16, and hidden states of any shape", async () => {
  const device = await defaultDevice();
  const V = 4099;
  const bits = toHalfBits(randomValues(5, V * COLS).map((v) => v + 0.25));
  const hidden = randomValues(6, 6 * COLS);
  const values = Float32Array.from(bits, fromHalfBits);
  using x = Tensor.from(hidden, { device, shape: [2, 3, COLS] });
  using weight = Tensor.from(bits, { device, shape: [V, COLS] });
  using y = linearMeanLogits(x, weight);
  assertEquals(y.shape, [2, 3, 1]);
  const means = Array.from({ length: 6 }, (_, r) => rowOf(hidden, values, r).mean);
  assertAllClose(await y.data(), means, { rtol: 1e-5, atol: 1e-6 });
});
