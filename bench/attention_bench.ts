/**
 * Fused attention, forward and backward: milliseconds and GFLOP/s (of the products below the diagonal) at GPT-2's
 * shapes. The last query of each case is checked against float64 before anything is timed.
 * Run: deno run -A bench/attention_bench.ts [--dropout]
 * @module
 */
import { cachedAttention, causalSelfAttention, RandomState, Tensor, tidy } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { selectAttention } from "../kernels/attention.ts";
import { type Floors, measureFloors } from "./floor_bench.ts";
import { checkResult, printTable, randomValues, repeatsFor, type Row, timeDevice } from "./harness.ts";

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
  const first = B * T * C - D;
  const expected = (at: number) =>
    weights.reduce((sum, w, j) => sum + w * qkv[row(j, 2) + at - first], 0) / total;
  checkResult("attention", o, Array.from({ length: D }, (_, d) => first + d), expected, 1e-5);
}

/** Checks and times every case. */
export async function benchAttention(device: Device, floors: Floors, dropout = false): Promise<Row[]> {
  const rows: Row[] = [];
  const random = new RandomState(device, 1);
  for (const test of CASES) {
    const { name, B, T, H, D } = test;
    const C = H * D;
    const data = randomValues(B * T * 3 * C);
    using qkv = Tensor.from(data, { device, shape: [B, T, 3 * C] });
    using seed = Tensor.from(randomValues(B * T * C), { device, shape: [B, T, C] });
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
    const repeat = repeatsFor(flops / 5e6);
    const forward = await timeDevice(device, repeat, () => void attend());
    const both = await timeDevice(device, repeat, step);
    using cache = Tensor.from(randomValues(B * (T + 1) * 2 * C), { device, shape: [B, T + 1, 2 * C] });
    using token = Tensor.from(randomValues(B * 3 * C), { device, shape: [B, 1, 3 * C] });
    const decode = await timeDevice(
      device,
      50,
      () => void cachedAttention(token, cache, { heads: H, past: T }),
    );
    // dq: scores, dp, dq; dk and dv: scores, dp, dk, dv; with the forward's two products 4.5 times its work
    rows.push({
      case: name,
      "B x T x H x D": `${B}x${T}x${H}x${D}`,
      kernels: selectAttention(device.profile, D).variant,
      "forward ms": forward,
      "GFLOP/s": flops / forward / 1e6,
      "times floor": forward * floors.gflops * 1e6 / flops,
      "forward + backward ms": both,
      "both GFLOP/s": 4.5 * flops / both / 1e6,
      "one token more ms": decode,
    });
  }
  random.dispose();
  return rows;
}

if (import.meta.main) {
  const device = await initDevice();
  const { floors } = await measureFloors(device);
  const dropout = Deno.args.includes("--dropout");
  const title = `Attention on ${device.adapterName}, dropout ${dropout}`;
  printTable(title, await benchAttention(device, floors, dropout));
}
