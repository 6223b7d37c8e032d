/**
 * NaN and infinity reach the result, in every variant of every kernel that guards an exponential, a logarithm or a
 * maximum: a guard such as min(x, 0) makes a sound number of NaN, and a broken model looks sound. Expected is what the
 * formula gives in IEEE arithmetic, which JavaScript's numbers are.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import {
  crossEntropy,
  defaultDevice,
  Device,
  exp,
  gelu,
  geluNew,
  linear,
  linearCrossEntropy,
  log,
  logSoftmax,
  lstmCell,
  max,
  relu,
  sigmoid,
  silu,
  softmax,
  sqrt,
  tanh,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { cachedAttention, causalSelfAttention } from "../../../autograd/ops/attention.ts";
import { attention } from "../../../autograd/ops/key_value_attention.ts";
import type { AttentionChoice } from "../../../kernels/attention.ts";
import { attentionCandidates } from "../../../tuning/candidates.ts";
import { hardwareVariants } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";
import { changeProfile } from "../../reference/profiles.ts";

const BAD = [NaN, Infinity, -Infinity];

/** What kind of number each value is: finite ones are alike. */
const kinds = (values: ArrayLike<number>) =>
  Array.from(
    values,
    (v) => Number.isNaN(v) ? "NaN" : Number.isFinite(v) ? "finite" : v > 0 ? "+inf" : "-inf",
  );

Deno.test("exp(), log(), sqrt(), sigmoid(), tanh(), relu(), silu() and gelus of NaN and infinity are what IEEE gives", async () => {
  const device = await defaultDevice();
  const x = Float32Array.of(NaN, Infinity, -Infinity, -2, 0, 1);
  const sigma = (v: number) => 1 / (1 + Math.exp(-v));
  const functions = {
    exp: [exp, Math.exp],
    log: [log, Math.log],
    sqrt: [sqrt, Math.sqrt],
    sigmoid: [sigmoid, sigma],
    tanh: [tanh, Math.tanh],
    relu: [relu, (v: number) => v > 0 || Number.isNaN(v) ? v : 0],
  } as const;
  for (const [name, [op, reference]] of Object.entries(functions)) {
    using y = tidy(() => op(Tensor.from(x, { device })));
    assertEquals(kinds(await y.data()), kinds(Array.from(x, reference)), name);
  }
  for (const op of [silu, gelu, geluNew]) { // 0 times infinity at -infinity is not asked for
    using y = tidy(() => op(Tensor.from([NaN, Infinity, 1], { device })));
    assertEquals(kinds(await y.data()), ["NaN", "+inf", "finite"], op.name);
  }
});

Deno.test("the slopes of pointwise functions at NaN are NaN, and relu passes the gradient on as PyTorch's does", async () => {
  const device = await defaultDevice();
  for (const op of [exp, log, sqrt, sigmoid, tanh, silu, gelu, geluNew, relu]) {
    using x = Tensor.from([NaN, 1], { device, requiresGrad: true });
    using dy = Tensor.from([3, 3], { device });
    using y = op(x);
    y.backward(dy);
    const slopes = await x.grad!.data();
    if (op === relu) assertEquals([...slopes], [3, 3]);
    else assertEquals(kinds(slopes), ["NaN", "finite"], op.name);
  }
});

/** Softmax, or its logarithm, of one row. */
function rowOf(row: readonly number[], logarithm: boolean): number[] {
  const high = row.reduce((a, b) => Number.isNaN(a) || Number.isNaN(b) ? NaN : Math.max(a, b));
  const e = row.map((v) => Math.exp(v - high));
  const total = e.reduce((a, b) => a + b);
  return row.map((v, i) => logarithm ? v - (high + Math.log(total)) : e[i] / total);
}

Deno.test("softmax() and logSoftmax() pass NaN and infinity on in every variant, and rows of -infinity are NaN", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const cols of [5, 8, 260]) {
      const plain = [...randomValues(1, cols)];
      const rows = [
        ...BAD.flatMap((bad) => [0, 1, cols - 1].map((place) => plain.with(place, bad))),
        new Array<number>(cols).fill(-Infinity),
        plain,
      ];
      for (const op of [softmax, logSoftmax]) {
        using x = Tensor.from(rows, { device, requiresGrad: true });
        using y = op(x);
        const values = kinds(await y.data());
        const expected = rows.flatMap((row) => rowOf(row, op === logSoftmax));
        assertEquals(values, kinds(expected), `${op.name} of ${cols}`);
        using dy = Tensor.from(randomValues(2, rows.length * cols), { device, shape: [rows.length, cols] });
        y.backward(dy);
        const slopes = kinds(await x.grad!.data());
        rows.forEach((row, r) => {
          const broken = rowOf(row, false).some(Number.isNaN);
          const slope = slopes.slice(r * cols, (r + 1) * cols);
          assert(slope.includes("NaN") === broken, `${op.name} of ${cols}: the gradient of row ${r}`);
        });
      }
    }
  }
});

Deno.test("max() of infinities and NaN is theirs", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([[-Infinity, -Infinity], [-Infinity, -1], [NaN, 1], [1, NaN], [Infinity, 1]], {
    device,
  });
  using y = max(x, { axis: 1 });
  assertEquals([...await y.data()], [-Infinity, -1, NaN, NaN, Infinity]);
});

Deno.test("crossEntropy() and linearCrossEntropy() pass NaN and infinity of a counted row on", async () => {
  const device = await defaultDevice();
  for (const V of [6, 700]) { // one segment and two
    for (const bad of BAD) {
      for (const place of [0, 3, V - 1]) {
        const row = [...randomValues(1, V)].with(place, bad);
        for (const label of [3, 4]) {
          const expected = -rowOf(row, true)[label];
          using logits = Tensor.from([row], { device, requiresGrad: true });
          using loss = tidy(() => crossEntropy(logits, Tensor.from(Int32Array.of(label), { device })));
          const text = `${bad} at ${place} of ${V}, label ${label}`;
          assertEquals(kinds([await loss.item()]), kinds([expected]), text);
          loss.backward();
          const broken = rowOf(row, false).some(Number.isNaN);
          assertEquals(kinds(await logits.grad!.data()).includes("NaN"), broken, `${text}: gradient`);
          // The head: logits are the rows of the weight, for a hidden state of one channel.
          using hidden = Tensor.from([[1]], { device, requiresGrad: true });
          using weight = Tensor.from(row.map((v) => [v]), { device });
          using head = tidy(() =>
            linearCrossEntropy(hidden, weight, Tensor.from(Int32Array.of(label), { device }))
          );
          assertEquals(kinds([await head.item()]), kinds([expected]), `head: ${text}`);
        }
      }
    }
    using none = Tensor.from([new Array<number>(V).fill(-Infinity)], { device });
    using loss = tidy(() => crossEntropy(none, Tensor.from(Int32Array.of(1), { device })));
    assert(Number.isNaN(await loss.item()), "every logit -infinity");
  }
});

Deno.test("lstmCell() passes NaN of any gate on", async () => {
  const device = await defaultDevice();
  for (const gate of [0, 1, 2, 3]) {
    using gates = Tensor.from([[0.1, 0.2, 0.3, 0.4].with(gate, NaN)], { device });
    using cell = Tensor.from([[1]], { device });
    using next = lstmCell(gates, cell);
    assert(Number.isNaN((await next.data())[0]), `gate ${gate}`);
  }
});

Deno.test("linear() with gelu_new in its epilogue passes NaN on", async () => {
  const device = await defaultDevice();
  for (const out of [4, 3]) {
    using x = Tensor.from([[NaN, 1], [1, 1]], { device });
    using w = Tensor.from(new Float32Array(2 * out).fill(1), { device, shape: [2, out] });
    using y = linear(x, w, null, { layout: "conv1d", activation: "gelu_new" });
    assertEquals(kinds(await y.data()), [...new Array(out).fill("NaN"), ...new Array(out).fill("finite")]);
  }
});

/** Every choice of kernels that attention has, on software and on hardware. */
function choices(): AttentionChoice[] {
  const all = (["software", "hardware"] as const).flatMap((kind) =>
    [1, 8].flatMap((Tq) => attentionCandidates({ kind, subgroupSize: 0 }, Tq))
  );
  // Workgroup sizes run the same text.
  return [...new Map(all.map((each) => [each.variant + JSON.stringify(each.rows), each])).values()]
    .map((each) => ({ ...each, WORKGROUP_SIZE: 8 }));
}

const [H, D, T] = [2, 4, 10];
const C = H * D;

/** Scores of one head as IEEE has them, and whether each row of the result holds NaN. */
function brokenRows(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  head: number,
  mask?: readonly number[],
): boolean[] {
  return Array.from({ length: T }, (_, i) => {
    const scores = [];
    for (let j = 0; j <= i; j++) {
      if (mask && mask[j] === 0) continue;
      let s = 0;
      for (let d = 0; d < D; d++) s += q[i * C + head * D + d] * k[j * C + head * D + d];
      scores.push(s);
    }
    if (scores.length === 0) return false;
    return rowOf(scores, false).some(Number.isNaN);
  });
}

async function checkAttention(
  device: Device,
  choice: AttentionChoice,
  fill: (q: Float32Array, k: Float32Array) => void,
  mask?: readonly number[],
  dropped = false,
): Promise<void> {
  const [q, k, v] = [1, 2, 3].map((seed) => randomValues(seed, T * C));
  fill(q, k);
  const qkv = new Float32Array(T * 3 * C);
  for (let t = 0; t < T; t++) {
    [q, k, v].forEach((part, n) => qkv.set(part.subarray(t * C, (t + 1) * C), t * 3 * C + n * C));
  }
  using rng = Tensor.from(Uint32Array.of(1, 2, 3, 0), { device });
  using maskTensor = mask ? Tensor.from(Uint32Array.from(mask), { device, shape: [1, T] }) : null;
  const options = {
    heads: H,
    choice,
    attentionMask: maskTensor,
    dropout: dropped ? { p: 0.2, rng, call: 0 } : null,
  };
  using x = Tensor.from(qkv, { device, shape: [1, T, 3 * C], requiresGrad: true });
  using o = causalSelfAttention(x, options);
  const values = await o.data();
  const label = JSON.stringify({ ...choice, mask, dropped });
  const anyBroken = [0, 1].map((head) => {
    const expected = brokenRows(q, k, head, mask);
    const actual = expected.map((_, i) => {
      const row = values.subarray(i * C + head * D, i * C + (head + 1) * D);
      const broken = row.some(Number.isNaN);
      assertEquals(row.every(Number.isNaN), broken, `${label}: row ${i} is NaN as a whole or not at all`);
      return broken;
    });
    assertEquals(actual, expected, `${label}: rows of head ${head} that are NaN`);
    return expected.includes(true);
  });
  using dy = Tensor.from(randomValues(4, T * C), { device, shape: [1, T, C] });
  o.backward(dy);
  const slopes = await x.grad!.data();
  anyBroken.forEach((broken, head) => {
    if (!broken) return;
    for (const [n, name] of ["dq", "dk", "dv"].entries()) {
      const part = Array.from(
        { length: T * D },
        (_, i) => slopes[Math.floor(i / D) * 3 * C + n * C + head * D + i % D],
      );
      assert(part.some((v) => !Number.isFinite(v)), `${label}: ${name} of head ${head} hides it`);
    }
  });
  if (dropped) return;
  using cache = Tensor.from(new Float32Array(T * 2 * C), { device, shape: [1, T, 2 * C] });
  using cached = cachedAttention(x.detach(), cache, { heads: H, choice, attentionMask: maskTensor, past: 0 });
  assertEquals(kinds(await cached.data()), kinds(values), `${label}: with a cache`);
  using queries = Tensor.from(q.slice((T - 1) * C), { device, shape: [1, 1, C] });
  using keys = Tensor.from(
    Float32Array.from(
      { length: T * 2 * C },
      (_, i) => qkv[Math.floor(i / (2 * C)) * 3 * C + C + i % (2 * C)],
    ),
    { device, shape: [1, T, 2 * C] },
  );
  using last = attention(queries, keys, { heads: H, choice, attentionMask: maskTensor });
  assertEquals(
    kinds(await last.data()),
    kinds(values.subarray((T - 1) * C)),
    `${label}: the last query alone`,
  );
}

Deno.test("attention passes NaN and infinity of queries and keys on, forward and backward, in every variant", async () => {
  const whole = await defaultDevice();
  const mask = [0, 0, 1, 1, 0, 1, 1, 1, 1, 1];
  const cutUp = await Device.create({ device: whole.gpuDevice });
  changeProfile(cutUp, { maxLoopIterations: 1 }); // launches of eight keys
  for (
    const [device, choice] of [whole, cutUp].flatMap((each) =>
      choices().map((choice) => [each, choice] as const)
    )
  ) {
    if (device === cutUp && choice.variant === "registers") continue; // tiles take over
    for (const bad of BAD) {
      await checkAttention(device, choice, (q) => q[6 * C + 1] = bad); // one query of the first head
      await checkAttention(device, choice, (_, k) => k[6 * C + D + 2] = bad); // one key of the second head
      await checkAttention(device, choice, (q) => q[6 * C + 1] = bad, mask);
      await checkAttention(device, choice, (_, k) => k[5 * C + D + 2] = bad, mask);
      await checkAttention(device, choice, (_, k) => k[5 * C + D + 2] = bad, mask, true);
    }
    // Every score of query 7 is -infinity: softmax is 0 / 0; without a key to see (queries 0 and 1) the row is 0.
    const steep = (q: Float32Array, k: Float32Array) => {
      q.fill(0, 7 * C, 7 * C + D)[7 * C] = Infinity;
      for (let t = 0; t < T; t++) k[t * C] = -1 - t;
    };
    await checkAttention(device, choice, steep);
    await checkAttention(device, choice, steep, mask);
  }
});
