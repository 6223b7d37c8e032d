import { assertEquals, assertThrows } from "@std/assert";
import {
  cast,
  concat,
  defaultDevice,
  Device,
  type DType,
  jointGatedLinear,
  jointLinear,
  linear,
  type LinearLayer,
  loraLinear,
  noGrad,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { watchOps } from "../../../autograd/record.ts";
import { type MatmulTile, selectMatmul } from "../../../kernels/matmul.ts";
import {
  type ChosenShape,
  KernelPicks,
  matmulClass,
  observeChoices,
  setPicks,
} from "../../../autograd/picks.ts";
import { checkOp, type Values } from "../../reference/check_op.ts";
import { matmulReference, randomValues } from "../../reference/matmul.ts";
import { changeProfile, pretendHardware } from "../../reference/profiles.ts";
import { randomWeight } from "../../reference/quantized.ts";

const S = 0.5;

/** A device of its own profile on the default one's GPU. */
async function another(limits: Record<string, number> = {}): Promise<Device> {
  const device = await Device.create({ device: (await defaultDevice()).gpuDevice, limits });
  changeProfile(device, { jointRows: Infinity });
  return device;
}

/** Layers of a case: widths, and which of them have a bias, an adapter of rank R, a dropout. */
interface Case {
  M: number;
  K: number;
  widths: number[];
  R?: number[];
  bias?: boolean;
  drops?: boolean;
  trains?: "all" | "adapters" | "nothing";
  layout?: "linear" | "conv1d";
  dtype?: DType;
  gated?: "silu" | "gelu_new";
}

const random = (device: Device, seed: number, shape: number[], requiresGrad = false) =>
  Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape, requiresGrad });

const plainLayer = (weight: Tensor): LinearLayer => ({ weight, bias: null, layout: "linear", lora: null });

/** The layers of a case, and everything whose gradient is compared. */
function build(device: Device, test: Case): { x: Tensor; layers: LinearLayer[]; leaves: Tensor[] } {
  const { M, K, widths, R = [], bias = false, drops = false, trains = "adapters", dtype = "float32" } = test;
  const layout = test.layout ?? "linear";
  const learns = trains !== "nothing";
  const x = random(device, 1, [M, K], learns);
  const leaves = [x];
  const layers = widths.map((N, i): LinearLayer => {
    const shape = layout === "linear" ? [N, K] : [K, N];
    const plain = random(device, 10 + i, shape, trains === "all" && dtype === "float32");
    const weight = dtype === "float32"
      ? plain
      : dtype === "q4_1"
      ? randomWeight(device, dtype, shape, 30 + i)
      : cast(plain, dtype);
    const b = bias ? random(device, 20 + i, [N], trains === "all") : null;
    if (!R[i]) {
      if (b) leaves.push(b);
      if (weight.requiresGrad) leaves.push(weight);
      return { weight, bias: b, layout, lora: null };
    }
    const [A, B] = [random(device, 40 + i, [R[i], K], learns), random(device, 50 + i, [N, R[i]], learns)];
    const xDropped = drops ? random(device, 60 + i, [M, K], learns) : null;
    leaves.push(A, B, ...(b ? [b] : []), ...(xDropped ? [xDropped] : []));
    return { weight, bias: b, layout, lora: { A, B, s: S, xDropped } };
  });
  return { x, layers, leaves: leaves.filter(({ requiresGrad }) => requiresGrad) };
}

/** The same by ops of one layer each. */
function apart(x: Tensor, { weight, bias, layout, lora }: LinearLayer, gate?: Tensor, name?: Case["gated"]) {
  const options = { layout, gate: gate && { activation: name!, by: gate } };
  return lora
    ? loraLinear(x, weight, bias, lora.A, lora.B, lora.s, { ...options, xDropped: lora.xDropped })
    : linear(x, weight, bias, options);
}

/** Asserts equal bits of values and gradients, and gives the launches of each way. */
async function assertSameBits(device: Device, test: Case): Promise<{ joint: number[]; apart: number[] }> {
  const counts = { joint: [0, 0], apart: [0, 0] };
  const results = (["joint", "apart"] as const).map((way) => {
    const { x, layers, leaves } = build(device, test);
    const before = device.stats.dispatches;
    const outputs = test.gated
      ? [
        way === "joint"
          ? jointGatedLinear(x, layers[0], layers[1], test.gated)
          : apart(x, layers[1], apart(x, layers[0]), test.gated),
      ]
      : way === "joint"
      ? jointLinear(x, layers)
      : layers.map((layer) => apart(x, layer));
    counts[way][0] = device.stats.dispatches - before;
    if (test.trains === "nothing") return outputs;
    const y = concat(outputs, 1);
    const dy = random(device, 70, [...y.shape]);
    const forward = device.stats.dispatches;
    y.backward(dy);
    counts[way][1] = device.stats.dispatches - forward;
    return [...outputs, ...leaves.map((leaf) => leaf.grad!)];
  });
  for (const i of results[0].keys()) {
    const [joint, alone] = await Promise.all(results.map((tensors) => tensors[i].data()));
    assertEquals(
      new Uint32Array(joint.buffer),
      new Uint32Array(alone.buffer),
      `${JSON.stringify(test)}: tensor ${i}`,
    );
  }
  return counts;
}

const CASES: Case[] = [
  { M: 1, K: 7, widths: [9, 3, 5], bias: true, trains: "nothing" },
  { M: 3, K: 64, widths: [40, 20, 20], R: [4, 0, 3], trains: "nothing" },
  { M: 1, K: 32, widths: [24, 8, 8], dtype: "q4_1", trains: "nothing" },
  { M: 2, K: 64, widths: [96, 32, 32], dtype: "float16", bias: true, R: [2, 2, 2] },
  { M: 8, K: 20, widths: [28, 12, 12], layout: "conv1d", trains: "all" },
  { M: 1, K: 64, widths: [96, 96], gated: "silu", dtype: "q4_1", trains: "nothing" },
  { M: 4, K: 11, widths: [13, 13], gated: "gelu_new", bias: true, trains: "all" },
  { M: 7, K: 24, widths: [40, 40], gated: "silu", R: [4, 0], bias: true },
];
/** Layers of SmolLM2, one token and many. */
const SMOLLM2: Case[] = [
  { M: 1, K: 576, widths: [576, 192, 192], R: [8, 0, 8], trains: "nothing" },
  { M: 1, K: 576, widths: [1536, 1536], gated: "silu", trains: "nothing" },
  { M: 64, K: 576, widths: [576, 192, 192], R: [8, 0, 8] },
  { M: 64, K: 576, widths: [1536, 1536], gated: "silu", R: [8, 8] },
];
/** Those of more rows, whose kernels take long to compile. */
const LARGE: Case[] = [
  { M: 19, K: 21, widths: [37, 5, 11], R: [3, 0, 5], bias: true, trains: "all" },
  { M: 18, K: 20, widths: [72, 72], gated: "gelu_new", R: [0, 3], drops: true },
];

Deno.test("layers of one input give the same bits together as one after the other, on the tiles of every adapter", async () => {
  const [own, hardware, scalar] = [await another(), await another(), await another()];
  pretendHardware(hardware);
  changeProfile(scalar, { subgroupSize: 0 });
  const runs = [[own, [...CASES, ...LARGE]], [hardware, [...CASES, ...LARGE]], [
    scalar,
    CASES.slice(0, 4),
  ]] as const;
  for (const [device, cases] of runs) {
    for (const test of cases) {
      const counts = await assertSameBits(device, test);
      assertEquals(counts.joint[0] < counts.apart[0], true, JSON.stringify(test));
    }
  }
});

Deno.test("layers of SmolLM2's sizes give the same bits together as apart, also where one binding does not hold them", async () => {
  const [own, hardware] = [await another(), await another()];
  const small = await another({ maxStorageBufferBindingSize: 1 << 20 }); // W of q, gate and up take several windows
  pretendHardware(hardware);
  for (const device of [own, hardware, small]) {
    for (const test of SMOLLM2) await assertSameBits(device, test);
  }
});

Deno.test("queries, keys and values take one launch, a gate and what it multiplies another, an adapter's input one more", async () => {
  const device = await another();
  pretendHardware(device);
  const forward = async (test: Case) => (await assertSameBits(device, test)).joint;
  assertEquals((await forward({ M: 1, K: 8, widths: [12, 4, 4], trains: "nothing" }))[0], 1);
  assertEquals((await forward({ M: 1, K: 8, widths: [12, 12], gated: "silu", trains: "nothing" }))[0], 1);
  const lora = await assertSameBits(device, { M: 8, K: 64, widths: [64, 32, 32], R: [4, 0, 4] });
  assertEquals([lora.apart[0], lora.joint[0]], [5, 2]); // u, y
  assertEquals(lora.apart[1] - lora.joint[1], 7); // dx: 3 and 2 sums -> 1; du, dA and dB: 2 -> 1 each
  const gated = await assertSameBits(device, { M: 8, K: 64, widths: [64, 64], gated: "silu" });
  assertEquals([gated.apart[0], gated.joint[0]], [2, 1]);
  assertEquals(gated.apart[1] - gated.joint[1], 2); // dx: 2 and a sum -> 1
});

Deno.test("products of one launch are as many as the limit of bindings and the loops of the adapter allow", async () => {
  const narrow = await another({ maxStorageBuffersPerShaderStage: 8 });
  pretendHardware(narrow);
  const launches = async (test: Case, device = narrow) => (await assertSameBits(device, test)).joint[0];
  assertEquals(await launches({ M: 1, K: 8, widths: [12, 4, 4], trains: "nothing" }), 1); // 7 buffers
  assertEquals(await launches({ M: 1, K: 8, widths: [12, 4, 4], bias: true, trains: "nothing" }), 2);
  const long = await another();
  changeProfile(long, { maxLoopIterations: 65535 });
  assertEquals(await launches({ M: 1, K: 20_000, widths: [4, 4], trains: "nothing" }, long), 2);
  const few = await another();
  changeProfile(few, { jointRows: 4 });
  assertEquals(await launches({ M: 4, K: 8, widths: [4, 4], trains: "nothing" }, few), 1);
  assertEquals(await launches({ M: 5, K: 8, widths: [4, 4], trains: "nothing" }, few), 2);
  const windows = await another({ maxStorageBufferBindingSize: 1 << 17 });
  await assertSameBits(windows, { M: 2, K: 260, widths: [200, 40, 40], R: [4, 0, 4] });
});

Deno.test("products whose picked tiles differ in their workgroups are launched apart", async () => {
  const device = await another();
  const tile = (lanesN: number): MatmulTile => ({
    variant: "register",
    tileM: 1,
    tileN: 4,
    lanesM: 1,
    lanesN,
    lanesK: 1,
    tileK: 4,
  });
  const picks = new KernelPicks();
  const classOf = (N: number) => matmulClass({ layout: "nt", M: 1, N, K: 8, batch: 1 });
  picks.pickMatmul(classOf(64), tile(16));
  picks.pickMatmul(classOf(16), tile(8));
  setPicks(device, picks);
  const launches = async (widths: number[]) =>
    (await assertSameBits(device, { M: 1, K: 8, widths, trains: "nothing" })).joint[0];
  assertEquals(await launches([64, 16, 16]), 2);
  assertEquals(await launches([16, 16, 16]), 1);
  const { x, layers } = build(device, { M: 1, K: 8, widths: [16, 64, 16], trains: "nothing" });
  const noted: number[] = [];
  const note = ({ shape }: ChosenShape) => noted.push((shape as { N: number }).N);
  await observeChoices(device, note, () => jointLinear(x, layers));
  assertEquals(noted, [16, 64, 16]); // each product once
});

Deno.test("results that nobody sends a gradient to are left out of the sum", async () => {
  const device = await another();
  pretendHardware(device);
  const grads = [true, false].map((joint) => {
    const { x, layers } = build(device, { M: 6, K: 8, widths: [8, 8, 8], R: [2, 2, 2] });
    const [q, , v] = joint ? jointLinear(x, layers) : layers.map((layer) => apart(x, layer));
    concat([q, v], 1).backward(random(device, 5, [6, 16]));
    assertEquals(layers[1].lora!.A.grad, null);
    return x.grad!;
  });
  assertEquals(await grads[0].data(), await grads[1].data());
});

Deno.test("ops that are watched stay one op each", async () => {
  const device = await another();
  tidy(() => {
    const { x, layers } = build(device, { M: 2, K: 8, widths: [8, 8] });
    const names: string[] = [];
    watchOps((name) => names.push(name), () => jointLinear(x, layers));
    assertEquals(names, ["linear", "linear"]);
  });
});

Deno.test("jointLinear() and jointGatedLinear() agree with the float64 reference in values and gradients", async () => {
  const device = await another();
  const [M, K, R] = [5, 7, 2];
  for (const hardware of [false, true]) {
    if (hardware) pretendHardware(device);
    for (const [N0, N1] of [[6, 9], [4, 8]]) {
      await checkOp({
        label: `jointLinear ${[N0, N1, hardware]}`,
        device,
        inputs: {
          x: { data: randomValues(1, M * K), shape: [M, K] },
          W0: { data: randomValues(2, N0 * K), shape: [N0, K] },
          A: { data: randomValues(3, R * K), shape: [R, K] },
          B: { data: randomValues(4, N0 * R), shape: [N0, R] },
          W1: { data: randomValues(5, N1 * K), shape: [N1, K] },
          b1: { data: randomValues(6, N1), shape: [N1] },
        },
        op: ({ x, W0, A, B, W1, b1 }) =>
          concat(
            jointLinear(x, [
              { weight: W0, bias: null, layout: "linear", lora: { A, B, s: S, xDropped: null } },
              { weight: W1, bias: b1, layout: "linear", lora: null },
            ]),
            1,
          ),
        shape: [M, N0 + N1],
        reference: ({ x, W0, A, B, W1, b1 }: Values) => {
          const weight = (n: number, k: number) => {
            if (n >= N0) return W1[(n - N0) * K + k];
            let w = W0[n * K + k];
            for (let r = 0; r < R; r++) w += S * B[n * R + r] * A[r * K + k];
            return w;
          };
          const N = N0 + N1;
          const y = new Float64Array(M * N);
          for (let m = 0; m < M; m++) {
            for (let n = 0; n < N; n++) {
              y[m * N + n] = n < N0 ? 0 : b1[n - N0];
              for (let k = 0; k < K; k++) y[m * N + n] += x[m * K + k] * weight(n, k);
            }
          }
          return {
            y,
            gradients: (dy) => {
              const zeros = (size: number) => new Float64Array(size);
              const result = {
                x: zeros(M * K),
                W0: zeros(N0 * K),
                A: zeros(R * K),
                B: zeros(N0 * R),
                W1: zeros(N1 * K),
                b1: zeros(N1),
              };
              for (let m = 0; m < M; m++) {
                for (let n = 0; n < N; n++) {
                  const d = dy[m * N + n];
                  if (n >= N0) result.b1[n - N0] += d;
                  for (let k = 0; k < K; k++) {
                    const dw = d * x[m * K + k];
                    result.x[m * K + k] += d * weight(n, k);
                    if (n >= N0) result.W1[(n - N0) * K + k] += dw;
                    else {
                      result.W0[n * K + k] += dw;
                      for (let r = 0; r < R; r++) {
                        result.B[n * R + r] += S * dw * A[r * K + k];
                        result.A[r * K + k] += S * dw * B[n * R + r];
                      }
                    }
                  }
                }
              }
              return result;
            },
          };
        },
        gate: { rtol: 1e-5, atol: 1e-5 },
        gradientGate: { rtol: 1e-4, atol: 1e-4 },
      });
    }
    const N = 6;
    await checkOp({
      label: `jointGatedLinear ${hardware}`,
      device,
      inputs: {
        x: { data: randomValues(1, M * K), shape: [M, K] },
        gate: { data: randomValues(2, N * K), shape: [N, K] },
        up: { data: randomValues(3, N * K), shape: [N, K] },
      },
      op: ({ x, gate, up }) => jointGatedLinear(x, plainLayer(gate), plainLayer(up), "silu"),
      shape: [M, N],
      reference: ({ x, gate, up }: Values) => {
        const times = (b: ArrayLike<number>) => matmulReference(x, b, { M, N, K, transposeB: true }).y;
        const [g, u] = [times(gate), times(up)];
        const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
        return {
          y: u.map((v, i) => v * g[i] * sigmoid(g[i])),
          gradients: (dy) => {
            const du = g.map((v, i) => dy[i] * v * sigmoid(v));
            const dg = g.map((v, i) => dy[i] * u[i] * sigmoid(v) * (1 + v * (1 - sigmoid(v))));
            const [dx, dgate, dup] = [M * K, N * K, N * K].map((size) => new Float64Array(size));
            for (let m = 0; m < M; m++) {
              for (let n = 0; n < N; n++) {
                const at = m * N + n;
                for (let k = 0; k < K; k++) {
                  dx[m * K + k] += dg[at] * gate[n * K + k] + du[at] * up[n * K + k];
                  dgate[n * K + k] += dg[at] * x[m * K + k];
                  dup[n * K + k] += du[at] * x[m * K + k];
                }
              }
            }
            return { x: dx, gate: dgate, up: dup };
          },
        };
      },
      gate: { rtol: 1e-5, atol: 1e-5 },
      gradientGate: { rtol: 1e-4, atol: 1e-4 },
    });
  }
});

Deno.test("layers that do not fit are refused by name", async () => {
  const device = await another();
  tidy(() => {
    const layer = (N: number, K: number) => plainLayer(random(device, 1, [N, K]));
    const x = random(device, 2, [3, 8]);
    assertThrows(
      () => jointLinear(x, [layer(4, 8), layer(4, 6)]),
      TypeError,
      "the last size of x [3, 8] must be 6",
    );
    const refused = "Cannot apply linear: a float32 gate [3, 6] is required, received float32 [3, 4]";
    assertThrows(
      () => noGrad(() => jointGatedLinear(x, layer(4, 8), layer(6, 8), "silu")),
      TypeError,
      refused,
    );
    assertEquals(selectMatmul(device.profile, { layout: "nt", M: 3, N: 4, K: 8, batch: 1 }).tileM, 3);
  });
});
