/**
 * Matrix products: GFLOP/s of the kernels that are chosen, at square shapes and at every shape of GPT-2 small (512
 * tokens, LoRA rank 8, decoding). Each result is checked at sampled elements before it is timed.
 * Run: deno run -A bench/matmul_bench.ts [--f16]   (the right operand in another format of weights, by its name)
 * @module
 */
import { cast, empty, keep, readAndDispose, Tensor, tidy } from "../autograd/mod.ts";
import { launchMatmul, type MatmulCall } from "../autograd/ops/_matmul.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { type MatmulLayout, type MatmulTile, selectMatmul } from "../kernels/matmul.ts";
import {
  fitsFormat,
  formatBytes,
  formatNamed,
  typeOfFormat,
  WEIGHT_FORMAT_NAMES,
  type WeightFormatName,
} from "../kernels/weights/mod.ts";
import { type Floors, measureFloors } from "./floor_bench.ts";
import { checkResult, printTable, repeatsFor, type Row, sampleIndices, timeDevice } from "./harness.ts";

/** A product under the clock. */
export interface ProductCase {
  readonly name: string;
  readonly layout: MatmulLayout;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const TOKENS = 512;
/** Squares, and the products of GPT-2 small with 512 tokens. */
export const GPT2_PRODUCTS: readonly ProductCase[] = [
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

/** Compares 64 elements of y with float64 sums. @throws {Error} if one differs */
export function checkProduct(
  { name, layout, M, N, K }: ProductCase,
  a: Float32Array,
  b: Float32Array,
  y: ArrayLike<number>,
): void {
  const terms = (at: number) => {
    const [m, n] = [Math.floor(at / N), at % N];
    let sum = 0;
    let magnitude = 0;
    for (let k = 0; k < K; k++) {
      const term = a[layout === "tn" ? k * M + m : m * K + k] * b[layout === "nt" ? n * K + k : k * N + n];
      sum += term;
      magnitude += Math.abs(term);
    }
    return { sum, magnitude };
  };
  const allowed = (at: number) => 4 * Math.sqrt(K) * 2 ** -24 * terms(at).magnitude;
  checkResult(name, y, sampleIndices(M * N, 64), (at) => terms(at).sum, allowed);
}

/** Checks and times `cases`, the right operand in the format `weight`. */
export async function benchMatmul(
  device: Device,
  floors: Floors,
  { weight = "f32", cases = GPT2_PRODUCTS }: {
    weight?: WeightFormatName;
    cases?: readonly ProductCase[];
  } = {},
): Promise<Row[]> {
  const format = formatNamed(weight);
  const rows: Row[] = [];
  for (const test of cases) {
    const { name, layout, M, N, K } = test;
    const shapeB = layout === "nt" ? [N, K] : [K, N];
    // Weights in another format than f32 are frozen: no product for their gradient.
    if (format !== formatNamed("f32") && (layout === "tn" || !fitsFormat(format, shapeB))) continue;
    const [a, b] = [values(M * K, 1), values(K * N, 2)];
    const call: MatmulCall = tidy(() => ({
      layout,
      M,
      N,
      K,
      a: { tensor: keep(Tensor.from(a, { device, shape: [M, K] })), ld: layout === "tn" ? M : K },
      b: {
        tensor: keep(cast(Tensor.from(b, { device, shape: shapeB }), typeOfFormat(weight))),
        ld: shapeB[1],
      },
      y: { tensor: keep(empty(device, [M, N])), ld: N },
    }));
    launchMatmul(device, call);
    const stored = await readAndDispose(cast(call.b.tensor, "float32")) as Float32Array;
    checkProduct(test, a, stored, await call.y.tensor.data());
    const flops = 2 * M * N * K;
    const ms = await timeDevice(device, repeatsFor(flops / 1.5e7), () => launchMatmul(device, call));
    const bytes = 4 * (M * K + M * N) + formatBytes(format, K * N);
    const floorMs = Math.max(flops / floors.gflops, bytes / floors.smallGBs) / 1e6;
    rows.push({
      product: name,
      shape: `${layout} ${M}x${K}x${N}`,
      kernel: tileName(selectMatmul(device.profile, { layout, M, N, K, batch: 1, weight })),
      ms,
      "GFLOP/s": flops / ms / 1e6,
      "GB/s": bytes / ms / 1e6,
      "times floor": ms / floorMs,
    });
    for (const { tensor } of [call.a, call.b, call.y]) tensor.dispose();
    device.trim();
  }
  return rows;
}

if (import.meta.main) {
  const device = await initDevice();
  const { floors } = await measureFloors(device);
  const weight = WEIGHT_FORMAT_NAMES.find((name) => Deno.args.includes(`--${name}`)) ?? "f32";
  const title = `Products on ${device.adapterName}, right operand ${weight}`;
  printTable(title, await benchMatmul(device, floors, { weight }));
}
