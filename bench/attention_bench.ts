/**
 * Fused attention, forward and backward: milliseconds and GFLOP/s (of the products below the diagonal) at GPT-2's
 * shapes. The last query of each case is checked against float64 before anything is timed.
 * Run: deno run -A bench/attention_bench.ts [--dropout]
 * @module
 */
import { cachedAttention, causalSelfAttention, RandomState, Tensor, tidy } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { selectAttention } from "../kernels/attention.ts";
import { median } from "./harness.ts";

/** Sequences of attention under the clock. */
interface Case {
  readonly name: string;
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly D: number;
}

const CASES: readonly Case[] = [
  { name: "small GPT", B: 4, T: 64, H: 4, D: 32 },
  { name: "GPT-2 small", B: 1, T: 64, H: 12, D: 64 },
  { name: "GPT-2 small", B: 1, T: 256, H: 12, D: 64 },
  { name: "GPT-2 small", B: 1, T: 512, H: 12, D: 64 },
];

/** Numbers in [-1, 1), always the same. */
function values(count: number): Float32Array<ArrayBuffer> {
  let state = 1;
  return Float32Array.from(
    { length: count },
    () => (state = Math.imul(state, 1664525) + 1013904223 | 0) / 2 ** 31,
  );
}

/** Compares the output of the last query of the last head with float64. @throws {Error} if it differs */
function check({ B, T, H, D }: Case, qkv: Float32Array, o: ArrayLike<number>): void {
  const C = H * D;
  const row = (t: number, part: number) => ((B - 1) * T + t) * 3 * C + part * C + C - D;
  const scores = Array.from({ length: T }, (_, j) => {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += qkv[row(T - 1, 0) + d] * qkv[row(j, 1) + d];
    return sum / Math.sqrt(D);
  });
  const weights = scores.map((s) => Math.exp(s - Math.max(...scores)));
  const total = weights.reduce((a, b) => a + b, 0);
  for (let d = 0; d < D; d++) {
    const expected = weights.reduce((sum, w, j) => sum + w * qkv[row(j, 2) + d], 0) / total;
    const actual = o[B * T * C - D + d];
    if (!(Math.abs(actual - expected) <= 1e-5)) throw new Error(`o must be ${expected}, received ${actual}`);
  }
}

/** Median milliseconds of `work`, less what waiting costs. */
async function time(device: Device, repeat: number, work: () => void): Promise<number> {
  const idle: number[] = [];
  const times: number[] = [];
  for (let round = 0; round < 7; round++) {
    let start = performance.now();
    await device.sync();
    idle.push(performance.now() - start);
    start = performance.now();
    for (let i = 0; i < repeat; i++) tidy(work);
    await device.sync();
    times.push(performance.now() - start);
  }
  return Math.max(1e-3, median(times) - median(idle)) / repeat;
}

/** Checks and times every case; prints a table. */
export async function benchAttention(device: Device, dropout = false): Promise<void> {
  console.log(
    `adapter: ${device.adapterName}; ${selectAttention(device, 64).variant} kernels, dropout ${dropout}`,
  );
  console.log(
    `${"case".padEnd(14)}${
      "B x T x H x D".padEnd(18)
    }forward             forward + backward   one token more`,
  );
  const random = new RandomState(device, 1);
  for (const test of CASES) {
    const { name, B, T, H, D } = test;
    const C = H * D;
    const data = values(B * T * 3 * C);
    using qkv = Tensor.from(data, { device, shape: [B, T, 3 * C] });
    using seed = Tensor.from(values(B * T * C), { device, shape: [B, T, C] });
    using plain = causalSelfAttention(qkv, { heads: H });
    check(test, data, await plain.data());
    qkv.requiresGrad = true;
    const drop = () => dropout ? { p: 0.1, rng: random.tensor, call: 0 } : null;
    const attend = () => causalSelfAttention(qkv, { heads: H, dropout: drop() });
    const step = () => {
      attend().backward(seed);
      qkv.grad?.dispose();
      qkv.grad = null;
    };
    tidy(step);
    const flops = 4 * B * H * D * T * (T + 1) / 2;
    const repeat = Math.max(1, Math.round(5e7 / flops));
    const forward = await time(device, repeat, attend);
    const both = await time(device, repeat, step);
    using cache = Tensor.from(values(B * (T + 1) * 2 * C), { device, shape: [B, T + 1, 2 * C] });
    using token = Tensor.from(values(B * 3 * C), { device, shape: [B, 1, 3 * C] });
    const decode = await time(device, 20, () => cachedAttention(token, cache, { heads: H, past: T }));
    const rate = (work: number, ms: number) => `${ms.toFixed(2)} ms ${(work / ms / 1e6).toFixed(1)} GFLOP/s`;
    console.log(
      name.padEnd(14) + `${B}x${T}x${H}x${D}`.padEnd(18) + rate(flops, forward).padEnd(23) +
        // dq: scores, dp, dq; dk and dv: scores, dp, dk, dv
        rate(flops * 4.5, both).padEnd(24) + `${decode.toFixed(3)} ms`,
    );
  }
  random.dispose();
}

if (import.meta.main) await benchAttention(await initDevice(), Deno.args.includes("--dropout"));
