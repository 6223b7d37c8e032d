/**
 * Matrix products: GFLOP/s of the kernels that are chosen, at square shapes and at every shape of GPT-2 small (512
 * tokens, LoRA rank 8, decoding). Each result is checked at sampled elements before it is timed.
 * Run: deno run -A bench/matmul_bench.ts [--half]   (frozen weights as packed f16)
 * @module
 */
import { empty, Tensor, tidy } from "../autograd/mod.ts";
import { launchMatmul, type MatmulCall } from "../autograd/ops/_matmul.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { type MatmulLayout, type MatmulTile, selectMatmul } from "../kernels/matmul.ts";
import { median } from "./harness.ts";

/** A product under the clock. */
interface Case {
  readonly name: string;
  readonly layout: MatmulLayout;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const TOKENS = 512;
const CASES: readonly Case[] = [
  { name: "256^3", layout: "nn", M: 256, N: 256, K: 256 },
  { name: "512^3", layout: "nn", M: 512, N: 512, K: 512 },
  { name: "1024^3", layout: "nn", M: 1024, N: 1024, K: 1024 },
  { name: "c_attn", layout: "nn", M: TOKENS, N: 2304, K: 768 },
  { name: "attn.c_proj", layout: "nn", M: TOKENS, N: 768, K: 768 },
  { name: "c_fc (512x768x3072)", layout: "nn", M: TOKENS, N: 3072, K: 768 },
  { name: "mlp.c_proj", layout: "nn", M: TOKENS, N: 768, K: 3072 },
  { name: "c_attn dx", layout: "nt", M: TOKENS, N: 768, K: 2304 },
  { name: "c_fc dx", layout: "nt", M: TOKENS, N: 768, K: 3072 },
  { name: "mlp.c_proj dx", layout: "nt", M: TOKENS, N: 3072, K: 768 },
  { name: "c_fc dW", layout: "tn", M: 768, N: 3072, K: TOKENS },
  { name: "head, 64 rows", layout: "nt", M: 64, N: 50257, K: 768 },
  { name: "head dx, 64 rows", layout: "nn", M: 64, N: 768, K: 50257 },
  { name: "lora u", layout: "nt", M: TOKENS, N: 8, K: 768 },
  { name: "lora du", layout: "nn", M: TOKENS, N: 8, K: 2304 },
  { name: "lora dA", layout: "tn", M: 8, N: 768, K: TOKENS },
  { name: "lora dB", layout: "tn", M: 2304, N: 8, K: TOKENS },
  { name: "decode c_attn", layout: "nn", M: 1, N: 2304, K: 768 },
  { name: "decode mlp.c_proj", layout: "nn", M: 1, N: 768, K: 3072 },
  { name: "decode head", layout: "nt", M: 1, N: 50257, K: 768 },
];

const tileName = (tile: MatmulTile) =>
  `${tile.variant} ${tile.tileM}x${tile.tileN} of ${tile.lanesM}x${tile.lanesN}` +
  (tile.lanesK > 1 ? `x${tile.lanesK}` : "");

/** Multiples of 1/64 in [-1, 1): exact in float16, so that packed weights have one reference. */
function values(count: number, seed: number): Float32Array<ArrayBuffer> {
  const data = new Float32Array(count);
  for (let i = 0, state = seed; i < count; i++) {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    data[i] = (state >> 25) / 64;
  }
  return data;
}

/** Bits of the halves of `values`. */
function halves(data: Float32Array): Uint16Array<ArrayBuffer> {
  return Uint16Array.from(data, (value) => {
    if (value === 0) return 0;
    const exponent = Math.floor(Math.log2(Math.abs(value)));
    return (value < 0 ? 0x8000 : 0) | (exponent + 15) << 10 | (Math.abs(value) / 2 ** exponent - 1) * 1024;
  });
}

/** Compares 64 elements of y with float64 sums. @throws {Error} if one differs */
function check(
  { name, layout, M, N, K }: Case,
  a: Float32Array,
  b: Float32Array,
  y: ArrayLike<number>,
): void {
  for (let sample = 0; sample < 64; sample++) {
    const at = sample === 63 ? M * N - 1 : Math.floor(M * N * sample / 63);
    const [m, n] = [Math.floor(at / N), at % N];
    let sum = 0;
    let magnitude = 0;
    for (let k = 0; k < K; k++) {
      const term = a[layout === "tn" ? k * M + m : m * K + k] * b[layout === "nt" ? n * K + k : k * N + n];
      sum += term;
      magnitude += Math.abs(term);
    }
    if (!(Math.abs(y[at] - sum) <= 4 * Math.sqrt(K) * 2 ** -24 * magnitude)) {
      throw new Error(`${name}: y[${m}, ${n}] must be ${sum}, received ${y[at]}`);
    }
  }
}

/** Milliseconds of one product, median of `rounds` submissions of enough of them to outweigh the wait. */
async function time(device: Device, call: MatmulCall, rounds: number): Promise<number> {
  const idle: number[] = [];
  for (let i = 0; i < 5; i++) { // what a submission costs by itself
    const start = performance.now();
    await device.sync();
    idle.push(performance.now() - start);
  }
  const repeat = Math.max(1, Math.round(4e8 / (2 * call.M * call.N * call.K)));
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let i = 0; i < repeat; i++) launchMatmul(device, call);
    await device.sync();
    times.push(Math.max(1e-3, performance.now() - start - median(idle)) / repeat);
  }
  return median(times);
}

/** Checks and times every case; prints a table. */
export async function benchMatmul(device: Device, half = false): Promise<void> {
  console.log(`adapter: ${device.adapterName}; right operand ${half ? "packed f16" : "f32"}`);
  console.log(
    `${"product".padEnd(22)}${"shape".padEnd(22)}${"kernel".padEnd(26)}${"ms".padStart(9)} GFLOP/s`,
  );
  for (const test of CASES) {
    const { name, layout, M, N, K } = test;
    const shapeB = layout === "nt" ? [N, K] : [K, N];
    if (half && (layout === "tn" || shapeB[1] % 2 !== 0)) continue;
    const [a, b] = [values(M * K, 1), values(K * N, 2)];
    const call: MatmulCall = tidy(() => ({
      layout,
      M,
      N,
      K,
      a: { tensor: Tensor.from(a, { device, shape: [M, K] }), ld: layout === "tn" ? M : K },
      b: {
        tensor: half
          ? Tensor.from(halves(b), { device, shape: shapeB, dtype: "float16" })
          : Tensor.from(b, { device, shape: shapeB }),
        ld: shapeB[1],
      },
      y: { tensor: empty(device, [M, N]), ld: N },
    }));
    launchMatmul(device, call);
    check(test, a, b, await call.y.tensor.data());
    const ms = await time(device, call, 7);
    const tile = tileName(selectMatmul(device, { layout, M, N, K, batch: 1 }));
    const rate = (2 * M * N * K / ms / 1e6).toFixed(1);
    const shape = `${layout} ${M}x${K}x${N}`;
    console.log(
      `${name.padEnd(22)}${shape.padEnd(22)}${tile.padEnd(26)}${ms.toFixed(3).padStart(9)} ${
        rate.padStart(7)
      }`,
    );
    for (const { tensor } of [call.a, call.b, call.y]) tensor.dispose();
    device.trim();
  }
}

if (import.meta.main) await benchMatmul(await initDevice(), Deno.args.includes("--half"));
