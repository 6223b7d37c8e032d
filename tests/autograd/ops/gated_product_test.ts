import { assert, assertAllClose, assertThrows } from "@std/assert";
import {
  defaultDevice,
  gatedProduct,
  gelu,
  geluNew,
  multiply,
  silu,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { checkOp, type Values } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";

/** Value and derivative of tanh's gelu and of silu, in float64. */
const gates = {
  silu: (v: number) => {
    const s = 1 / (1 + Math.exp(-v));
    return { value: v * s, slope: s * (1 + v * (1 - s)) };
  },
  geluNew: (v: number) => {
    const root = Math.sqrt(2 / Math.PI);
    const t = Math.tanh(root * (v + 0.044715 * v ** 3));
    return {
      value: 0.5 * v * (1 + t),
      slope: 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * root * (1 + 3 * 0.044715 * v * v),
    };
  },
} as const;

for (const name of ["silu", "geluNew"] as const) {
  Deno.test(`gatedProduct() by ${name} and its gradients agree with the float64 reference`, async () => {
    const f = gates[name];
    const cases: [shape: number[], frozen: string[]][] = [
      [[1], []],
      [[3, 7], []],
      [[2, 5, 257], []],
      [[12], ["gate"]],
      [[13], ["up"]],
    ];
    for (const [shape, frozen] of cases) {
      const size = shape.reduce((a, b) => a * b, 1);
      await checkOp({
        label: `gatedProduct ${name} [${shape}] -${frozen}`,
        frozen,
        inputs: {
          gate: { data: randomValues(1, size).map((v) => 4 * v), shape },
          up: { data: randomValues(2, size), shape },
        },
        op: ({ gate, up }) => gatedProduct(name, gate, up),
        shape,
        reference: ({ gate, up }: Values) => ({
          y: Float64Array.from(gate, (v, i) => f(v).value * up[i]),
          gradients: (dy) => ({
            gate: Float64Array.from(gate, (v, i) => dy[i] * up[i] * f(v).slope),
            up: Float64Array.from(gate, (v, i) => dy[i] * f(v).value),
          }),
        }),
        gate: { rtol: 1e-5, atol: 1e-6 },
        gradientGate: { rtol: 1e-4, atol: 2e-6 },
      });
    }
  });
}

Deno.test("gatedProduct() equals the activation times up, for numbers of every size", async () => {
  const device = await defaultDevice();
  const data = Float32Array.from([-1e4, -90, -20, -3, -0.5, 0, 1e-6, 0.5, 3, 20, 90, 1e4, NaN]);
  for (const [name, op] of [["silu", silu], ["geluNew", geluNew], ["gelu", gelu]] as const) {
    const seed = Tensor.from(new Float32Array(data.length).fill(1), { device });
    const results = [false, true].map((fused) => {
      const gate = Tensor.from(data, { device, requiresGrad: true });
      const up = Tensor.from(data.map((_, i) => 1 + i / 8), { device, requiresGrad: true });
      const y = fused ? gatedProduct(name, gate, up) : tidy(() => multiply(op(gate), up));
      y.backward(seed);
      return [y, gate.grad!, up.grad!, gate, up];
    });
    for (const i of [0, 1, 2]) {
      const [plain, fused] = await Promise.all(results.map((tensors) => tensors[i].data()));
      assertAllClose([...fused].slice(0, -1), [...plain].slice(0, -1), {
        rtol: 1e-6,
        atol: 1e-30,
        label: `${name} ${i}`,
      });
      assert(Number.isNaN(fused.at(-1)), `${name}: NaN must stay, received ${fused.at(-1)}`);
    }
    for (const tensor of [seed, ...results.flat()]) tensor.dispose();
  }
});

Deno.test("gatedProduct() refuses different shapes", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const [a, b] = [2, 3].map((n) => Tensor.from(new Float32Array(n), { device }));
    assertThrows(
      () => gatedProduct("silu", a, b),
      TypeError,
      "Cannot gate up [3] by [2]: equal shapes are required",
    );
  });
});
