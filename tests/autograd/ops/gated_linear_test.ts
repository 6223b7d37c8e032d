import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  cast,
  defaultDevice,
  Device,
  type DType,
  type Gate,
  gatedProduct,
  type GateName,
  linear,
  type LinearOptions,
  loraLinear,
  noGrad,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { FUSED_ACTIVATIONS } from "../../../kernels/fused_activations.ts";
import { selectMatmul } from "../../../kernels/matmul.ts";
import { checkOp, type Values } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";
import { pretendHardware } from "../../reference/profiles.ts";

type Activation = Gate["activation"];

/** Value and derivative in float64. */
const gates: Partial<Record<Activation, (v: number) => { value: number; slope: number }>> = {
  silu: (v) => {
    const s = 1 / (1 + Math.exp(-v));
    return { value: v * s, slope: s * (1 + v * (1 - s)) };
  },
  gelu_new: (v) => {
    const root = Math.sqrt(2 / Math.PI);
    const t = Math.tanh(root * (v + 0.044715 * v ** 3));
    const slope = 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * root * (1 + 3 * 0.044715 * v * v);
    return { value: 0.5 * v * (1 + t), slope };
  },
};

for (
  const [activation, f] of Object.entries(gates) as [Activation, NonNullable<typeof gates[Activation]>][]
) {
  Deno.test(`linear() gated by ${activation} and its gradients agree with the float64 reference`, async () => {
    const cases: [M: number, K: number, N: number, frozen: string[]][] = [
      [1, 5, 3, []],
      [2, 4, 4, ["weight"]],
      [3, 7, 9, ["x", "weight", "bias"]],
      [17, 30, 37, ["gate"]],
      [16, 64, 128, ["weight", "bias"]],
      [33, 24, 260, []],
    ];
    for (const [M, K, N, frozen] of cases) {
      const product = (x: ArrayLike<number>, weight: ArrayLike<number>, bias: ArrayLike<number>) =>
        Float64Array.from({ length: M * N }, (_, at) => {
          const [m, n] = [Math.floor(at / N), at % N];
          let sum = bias[n];
          for (let k = 0; k < K; k++) sum += x[m * K + k] * weight[n * K + k];
          return sum;
        });
      await checkOp({
        label: `gated linear ${activation} ${[M, K, N]} -${frozen}`,
        frozen,
        inputs: {
          x: { data: randomValues(1, M * K), shape: [M, K] },
          weight: { data: randomValues(2, N * K), shape: [N, K] },
          bias: { data: randomValues(3, N), shape: [N] },
          gate: { data: randomValues(4, M * N).map((v) => 4 * v), shape: [M, N] },
        },
        op: ({ x, weight, bias, gate }) => linear(x, weight, bias, { gate: { activation, by: gate } }),
        shape: [M, N],
        reference: ({ x, weight, bias, gate }: Values) => {
          const z = product(x, weight, bias);
          return {
            y: z.map((v, i) => v * f(gate[i]).value),
            gradients: (dy) => {
              const dz = Float64Array.from(gate, (v, i) => dy[i] * f(v).value);
              const dx = new Float64Array(M * K);
              const dweight = new Float64Array(N * K);
              const dbias = new Float64Array(N);
              for (let m = 0; m < M; m++) {
                for (let n = 0; n < N; n++) {
                  dbias[n] += dz[m * N + n];
                  for (let k = 0; k < K; k++) {
                    dx[m * K + k] += dz[m * N + n] * weight[n * K + k];
                    dweight[n * K + k] += dz[m * N + n] * x[m * K + k];
                  }
                }
              }
              const dgate = Float64Array.from(gate, (v, i) => dy[i] * z[i] * f(v).slope);
              return { x: dx, weight: dweight, bias: dbias, gate: dgate };
            },
          };
        },
        gate: { rtol: 1e-5, atol: 1e-5 },
        gradientGate: { rtol: 1e-4, atol: 1e-4 },
      });
    }
  });
}

/** Results and gradients of the two ways, to compare. */
async function assertEqualToTwo(
  device: Device,
  { M, K, N, R = 0, bias = false, layout = "linear", dtype = "float32", activation = "silu" }: {
    M: number;
    K: number;
    N: number;
    R?: number;
    bias?: boolean;
    layout?: LinearOptions["layout"];
    dtype?: DType;
    activation?: Activation;
  },
): Promise<{ fused: number; apart: number }> {
  const label = JSON.stringify({ M, K, N, R, bias, layout, dtype, activation });
  const make = (seed: number, shape: number[], requiresGrad = true) =>
    Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape, requiresGrad });
  const counts: number[] = [];
  const results = [true, false].map((isFused) => {
    const [x, gate] = [make(1, [M, K]), make(2, [M, N])];
    const plain = make(3, layout === "linear" ? [N, K] : [K, N], false);
    const weight = dtype === "float32" ? plain : cast(plain, dtype);
    const b = bias ? make(4, [N]) : null;
    const factors = R > 0 ? [make(5, [R, K]), make(6, [N, R])] : [];
    const run = (options: LinearOptions) =>
      R > 0
        ? loraLinear(x, weight, b, factors[0], factors[1], 0.5, { layout, ...options })
        : linear(x, weight, b, { layout, ...options });
    const before = device.stats.dispatches;
    const y = isFused
      ? run({ gate: { activation, by: gate } })
      : tidy(() => gatedProduct(FUSED_ACTIVATIONS[activation].unary.name as GateName, gate, run({})));
    counts.push(device.stats.dispatches - before);
    y.backward(make(7, [M, N], false));
    return [y, ...[x, gate, ...(b ? [b] : []), ...factors].map((tensor) => tensor.grad!)];
  });
  for (const i of results[0].keys()) {
    const [actual, expected] = await Promise.all(results.map((tensors) => tensors[i].data()));
    assertAllClose(actual as Float32Array, expected as Float32Array, {
      rtol: 1e-6,
      atol: 1e-6,
      label: `${label} ${i}`,
    });
  }
  return { fused: counts[0], apart: counts[1] };
}

Deno.test("a gate in a product's epilogue gives what the product and the gated product give, a launch less", async () => {
  const device = await defaultDevice();
  for (const activation of ["silu", "gelu_new", "gelu"] as const) {
    const counts = await assertEqualToTwo(device, { M: 5, K: 8, N: 12, activation });
    assertEquals(counts.apart - counts.fused, 1);
  }
  for (const layout of ["linear", "conv1d"] as const) {
    await assertEqualToTwo(device, { M: 1, K: 7, N: 9, R: 3, layout });
    await assertEqualToTwo(device, { M: 19, K: 20, N: 36, R: 4, bias: true, layout });
  }
  await assertEqualToTwo(device, { M: 6, K: 32, N: 64, R: 4, bias: true, dtype: "float16" });
});

Deno.test("a gate agrees on the tiles for hardware, and in windows of a binding limit", async () => {
  const hardware = await Device.create({ device: (await defaultDevice()).gpuDevice });
  pretendHardware(hardware);
  const shape = { layout: "nt", M: 40, N: 72, K: 20, batch: 1 } as const;
  assertEquals(selectMatmul(hardware.profile, shape).variant, "shared");
  const limited = await Device.create({
    device: (await defaultDevice()).gpuDevice,
    limits: { maxStorageBufferBindingSize: 1 << 17 },
  });
  await assertEqualToTwo(hardware, { M: 40, K: 20, N: 72, R: 4, bias: true });
  await assertEqualToTwo(limited, { M: 100, K: 260, N: 200, R: 4, bias: true });
});

Deno.test("a gate saves what it multiplies only where a gradient will want it", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) =>
      Tensor.from(new Float32Array(shape.reduce((a, b) => a * b)), { device, shape, requiresGrad: true });
    const [x, weight, by] = [zeros(8, 16), zeros(32, 16), zeros(8, 32)];
    const gate = { activation: "silu", by } as const;
    const before = device.memory.liveBytes;
    const y = noGrad(() => linear(x, weight, null, { gate }));
    assertEquals(device.memory.liveBytes - before, y.byteLength);
  });
});

Deno.test("a gate that does not fit is refused by name", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) =>
      Tensor.from(new Float32Array(shape.reduce((a, b) => a * b)), { device, shape });
    const [x, weight, by] = [zeros(8, 16), zeros(32, 16), zeros(8, 32)];
    assertThrows(
      () => linear(x, weight, null, { gate: { activation: "silu", by: x } }),
      TypeError,
      "Cannot apply linear: a float32 gate [8, 32] is required, received float32 [8, 16]",
    );
    const both = "Cannot apply linear: a gate takes the place of an activation and of a residual";
    const gate = { activation: "silu", by } as const;
    assertThrows(() => linear(x, weight, null, { gate, residual: by }), TypeError, both);
    assertThrows(() => linear(x, weight, null, { gate, activation: "gelu_new" }), TypeError, both);
  });
});
