/**
 * Products over weights of every format at GPT-2 small's shapes, beside those over float16 in turn: forward (x W^T) and
 * the gradient of x (x W), with many rows and with one. The least device time of some runs each counts; beside other
 * programs, on a software adapter, the share of this process's processor time is steadier.
 * Run: deno run -A bench/weight_formats_bench.ts [format …] [--layer c_fc …] [--rows 512] [--runs 5] [--json FILE]
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import {
  cast,
  type Device,
  empty,
  keep,
  quantize,
  type QuantizedType,
  readAndDispose,
  Tensor,
  tidy,
} from "../autograd/mod.ts";
import { launchMatmul, type MatmulCall } from "../autograd/ops/_matmul.ts";
import { initDevice } from "../gpu/mod.ts";
import { profileKernels } from "../gpu/profiler.ts";
import { formatBytes, WEIGHT_FORMATS } from "../kernels/weights/mod.ts";
import { printTable, randomValues, type Row } from "./harness.ts";
import { checkProduct } from "./matmul_bench.ts";

/** Rows and columns of the stored weight: [outputs, inputs], as those of a Linear layer lie. */
const SHAPES = { c_attn: [2304, 768], c_fc: [3072, 768], "mlp.c_proj": [768, 3072] } as const;
const GGUF: readonly QuantizedType[] = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"];
const BITSANDBYTES = ["nf4", "nf4_double", "fp4", "int8"] as const;

/** A weight whose blocks hold ordinary numbers. */
async function weightOf(device: Device, name: string, shape: readonly number[]): Promise<Tensor> {
  const size = shape[0] * shape[1];
  if (GGUF.includes(name as QuantizedType)) {
    const type = name as QuantizedType;
    // 0x1111 is a half of 6.5e-4; any byte is a code.
    const bytes = new Uint8Array(formatBytes(WEIGHT_FORMATS[type], size)).fill(0x11);
    return Tensor.from(bytes, { device, dtype: type, shape });
  }
  const numbers = Tensor.from(randomValues(size, 2), { device, shape });
  try {
    return name === "float16"
      ? tidy(() => keep(cast(numbers, "float16")))
      : await quantize(numbers, name as (typeof BITSANDBYTES)[number]);
  } finally {
    numbers.dispose();
  }
}

/** The least milliseconds of a launch, for several calls that take turns: of the device, and of this process's processors. */
async function leastOf(device: Device, calls: readonly MatmulCall[], runs: number) {
  const repeat = calls[0].M === 1 ? 20 : 1;
  const least = calls.map(() => ({ ms: Infinity, cpu: Infinity }));
  for (let run = 0; run <= runs; run++) {
    for (const [i, call] of calls.entries()) {
      const before = process.cpuUsage();
      const times = await profileKernels(device, () => {
        for (let n = 0; n < repeat; n++) launchMatmul(device, call);
        return Promise.resolve();
      });
      const { user, system } = process.cpuUsage(before);
      if (run === 0) continue; // the first one compiles
      const ms = times.reduce((sum, time) => sum + time.ms, 0) / repeat;
      least[i].ms = Math.min(least[i].ms, ms);
      least[i].cpu = Math.min(least[i].cpu, (user + system) / 1000 / repeat);
    }
  }
  return least;
}

/** Speeds of one format as shares of float16's in these layers, and the milliseconds of both. */
export async function compareFormat(
  device: Device,
  name: string,
  layers: readonly string[],
  many: number,
  runs: number,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [product, shape] of Object.entries(SHAPES)) {
    if (!layers.includes(product)) continue;
    const weights = [await weightOf(device, "float16", shape), await weightOf(device, name, shape)];
    const stored = await Promise.all(
      weights.map(async (weight) => await readAndDispose(cast(weight, "float32")) as Float32Array),
    );
    for (const layout of ["nt", "nn"] as const) {
      const [N, K] = layout === "nt" ? shape : [shape[1], shape[0]];
      for (const M of [many, 1]) {
        const x = randomValues(M * K, 1);
        const a = { tensor: Tensor.from(x, { device, shape: [M, K] }), ld: K };
        const y = { tensor: tidy(() => keep(empty(device, [M, N]))), ld: N };
        const calls = weights.map((tensor): MatmulCall => ({
          ...{ layout, M, N, K, a, y },
          b: { tensor, ld: shape[1] },
        }));
        for (const [i, call] of calls.entries()) {
          launchMatmul(device, call);
          const test = { name: `${product} over ${i === 0 ? "float16" : name}`, layout, M, N, K };
          checkProduct(test, x, stored[i], await y.tensor.data());
        }
        const [half, least] = await leastOf(device, calls, runs);
        rows.push({
          format: name,
          product: `${layout === "nt" ? "x W^T" : "x W"}, ${M} row${M === 1 ? "" : "s"}`,
          layer: product,
          ms: least.ms,
          "float16, ms": half.ms,
          share: half.ms / least.ms,
          "by processor time": half.cpu / least.cpu,
        });
        a.tensor.dispose();
        y.tensor.dispose();
      }
    }
    for (const weight of weights) weight.dispose();
    device.trim();
  }
  return rows;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: {
      layer: { type: "string", multiple: true, default: Object.keys(SHAPES) },
      rows: { type: "string", default: "512" },
      runs: { type: "string", default: "5" },
      json: { type: "string" },
    },
    allowPositionals: true,
  });
  const device = await initDevice();
  const all: Row[] = [];
  for (const name of positionals.length > 0 ? positionals : [...GGUF, ...BITSANDBYTES]) {
    const rows = await compareFormat(device, name, values.layer, Number(values.rows), Number(values.runs));
    printTable(`${name} on ${device.adapterName}`, rows);
    all.push(...rows);
  }
  if (values.json) await Deno.writeTextFile(values.json, JSON.stringify(all, null, 1));
}
