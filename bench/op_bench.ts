/**
 * Ops over rows and elements: softmax, layer norm and gelu of [512, 768], AdamW over GPT-2's block. Milliseconds, bytes a
 * second, and how many times the floor that is: bytes the op must move over the rate of a copy of the same size.
 * Run: deno run -A bench/op_bench.ts
 * @module
 */
import { geluNew, layerNorm, softmax, Tensor } from "../autograd/mod.ts";
import { type Device, initDevice } from "../gpu/mod.ts";
import { AdamW } from "../train/optimizers/adamw.ts";
import { type Floors, measureFloors } from "./floor_bench.ts";
import {
  checkResult,
  printTable,
  randomValues,
  repeatsFor,
  type Row,
  sampleIndices,
  timeDevice,
} from "./harness.ts";

const ROWS = 512;
const COLS = 768;
const SIZE = ROWS * COLS;
/** Relative to values of about 1: sums of 768 float32 terms. */
const TOLERANCE = 2e-5;

/** An op under the clock: what it computes, checked in float64, and the bytes it cannot avoid. */
interface Case {
  readonly name: string;
  readonly bytes: number;
  /** Prepares the op; `run` launches it once. */
  prepare(device: Device): Promise<{ run: () => void; dispose: () => void }>;
}

const x = randomValues(SIZE, 1).map((v) => 4 * v);
const dy = randomValues(SIZE, 2);
const weight = randomValues(COLS, 3).map((v) => 1 + v / 4);
const bias = randomValues(COLS, 4);

/** Rows of y and dx that are compared whole. */
const CHECKED = [0, 255, ROWS - 1];
const checkedElements = CHECKED.flatMap((row) => Array.from({ length: COLS }, (_, i) => row * COLS + i));

/** Rows `CHECKED` of a function of rows, as a lookup by element. */
function reference(row: (x: number[], dy: number[]) => number[]): (index: number) => number {
  const results = new Map(CHECKED.map((r) => [
    r,
    row([...x.subarray(r * COLS, (r + 1) * COLS)], [...dy.subarray(r * COLS, (r + 1) * COLS)]),
  ]));
  return (index) => results.get(Math.floor(index / COLS))![index % COLS];
}

function softmaxRow(x: number[]): number[] {
  const high = Math.max(...x);
  const e = x.map((v) => Math.exp(v - high));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / total);
}

function normalized(x: number[]): { xHat: number[]; rstd: number } {
  const mean = x.reduce((a, b) => a + b, 0) / COLS;
  const rstd = 1 / Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / COLS + 1e-5);
  return { xHat: x.map((v) => (v - mean) * rstd), rstd };
}

const layerNormRow = (x: number[]) => normalized(x).xHat.map((v, i) => v * weight[i] + bias[i]);

function layerNormBackwardRow(x: number[], dy: number[]): number[] {
  const { xHat, rstd } = normalized(x);
  const g = dy.map((v, i) => v * weight[i]);
  const meanG = g.reduce((a, b) => a + b, 0) / COLS;
  const meanGx = g.reduce((a, b, i) => a + b * xHat[i], 0) / COLS;
  return g.map((v, i) => rstd * (v - meanG - xHat[i] * meanGx));
}

function softmaxBackwardRow(x: number[], dy: number[]): number[] {
  const y = softmaxRow(x);
  const total = y.reduce((a, v, i) => a + v * dy[i], 0);
  return y.map((v, i) => v * (dy[i] - total));
}

function geluRow(x: number[]): number[] {
  return x.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
}

/** A case over x [512, 768]: forward, or forward and backward. */
function rowCase(
  name: string,
  passes: number,
  op: (x: Tensor, weight: Tensor, bias: Tensor) => Tensor,
  forward: (x: number[]) => number[],
  backward?: (x: number[], dy: number[]) => number[],
): Case {
  return {
    name,
    bytes: passes * 4 * SIZE,
    async prepare(device) {
      const input = Tensor.from(x, { device, shape: [ROWS, COLS], requiresGrad: backward !== undefined });
      const seed = Tensor.from(dy, { device, shape: [ROWS, COLS] });
      const [w, b] = [Tensor.from(weight, { device }), Tensor.from(bias, { device })];
      const y = op(input, w, b);
      checkResult(name, await y.data(), checkedElements, reference(forward), TOLERANCE);
      if (backward) {
        y.backward(seed);
        checkResult(`${name}, dx`, await input.grad!.data(), checkedElements, reference(backward), TOLERANCE);
        input.grad!.dispose();
        input.grad = null;
      }
      y.dispose();
      const run = () => {
        const y = op(input, w, b);
        if (!backward) return;
        y.backward(seed);
        input.grad!.dispose();
        input.grad = null;
      };
      return { run, dispose: () => [input, seed, w, b].forEach((tensor) => tensor.dispose()) };
    },
  };
}

/** AdamW over the tensors of one block of GPT-2 small. */
const adamw: Case = {
  name: "AdamW, 7.1 M parameters",
  bytes: 28 * (768 * 2304 + 768 * 768 + 2 * 768 * 3072), // reads p, g, m, v; writes p, m, v
  async prepare(device) {
    const shapes = [[768, 2304], [768, 768], [768, 3072], [3072, 768]];
    const params = shapes.map((shape, i) => {
      const data = randomValues(shape[0] * shape[1], i + 1);
      const param = Tensor.from(data, { device, shape, requiresGrad: true });
      param.grad = Tensor.from(data.map((v) => v / 2), { device, shape });
      return param;
    });
    const optimizer = new AdamW(params, { lr: 0.01 });
    optimizer.step();
    const before = randomValues(768 * 2304, 1);
    // first step: m / sqrt(v) is the sign of the gradient
    const after = (i: number) =>
      before[i] * (1 - 1e-4) - 0.01 * (before[i] / 2) / (Math.abs(before[i] / 2) + 1e-8);
    checkResult(adamw.name, await params[0].data(), sampleIndices(before.length, 2000), after, 1e-6);
    return {
      run: () => optimizer.step(),
      dispose: () => [...params, optimizer].forEach((owner) => owner.dispose()),
    };
  },
};

const CASES: readonly Case[] = [
  rowCase("softmax", 2, softmax, softmaxRow),
  rowCase("softmax, forward + backward", 5, softmax, softmaxRow, softmaxBackwardRow),
  rowCase("layerNorm", 2, layerNorm, layerNormRow),
  rowCase("layerNorm, forward + backward to x", 5, layerNorm, layerNormRow, layerNormBackwardRow),
  rowCase("geluNew", 2, geluNew, geluRow),
  adamw,
];

/** Checks and times every case. */
export async function benchOps(device: Device, floors: Floors): Promise<Row[]> {
  const rows: Row[] = [];
  for (const test of CASES) {
    const { run, dispose } = await test.prepare(device);
    const once = await timeDevice(device, 3, run, 3);
    const ms = await timeDevice(device, repeatsFor(once), run);
    const rate = test.bytes <= 16e6 ? floors.smallGBs : floors.largeGBs;
    rows.push({
      op: test.name,
      shape: test === adamw ? "c_attn to mlp.c_proj" : `[${ROWS}, ${COLS}]`,
      ms,
      "GB/s": test.bytes / ms / 1e6,
      "times floor": ms * rate * 1e6 / test.bytes,
    });
    dispose();
    device.trim();
  }
  return rows;
}

if (import.meta.main) {
  const device = await initDevice();
  const { floors } = await measureFloors(device);
  printTable(`Ops on ${device.adapterName}`, await benchOps(device, floors));
}
