import { assertAllClose } from "@std/assert";
import { defaultDevice, linear, type LinearOptions, relu, Tensor } from "../../autograd/mod.ts";
import { FUSED_ACTIVATIONS, type FusedActivation } from "../../kernels/fused_activations.ts";
import { RELU } from "../../kernels/pointwise.ts";
import { randomValues } from "../reference/matmul.ts";

/** An activation of this test's own. */
const testRelu: FusedActivation = {
  label: "testRelu",
  functions: `
fn testRelu(x: f32) -> f32 { return max(x, 0.0); }
fn testRelu4(x: vec4f) -> vec4f { return max(x, vec4f(0.0)); }
`,
  one: "testRelu",
  four: "testRelu4",
  unary: RELU,
};
Object.assign(FUSED_ACTIVATIONS, { testRelu });

Deno.test("an entry of FUSED_ACTIVATIONS serves the epilogue of products and their gradients, vec4 and scalar", async () => {
  const device = await defaultDevice();
  for (const [M, K, N] of [[5, 8, 12], [7, 6, 9]]) {
    const make = (seed: number, shape: number[], requiresGrad = false) =>
      Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b)), { device, shape, requiresGrad });
    const dy = make(4, [M, N]);
    const run = (body: (x: Tensor, weight: Tensor, bias: Tensor) => Tensor) => {
      const operands = [make(1, [M, K], true), make(2, [N, K], true), make(3, [N], true)] as const;
      const y = body(...operands);
      y.backward(dy);
      return [y, ...operands.map((operand) => operand.grad!)];
    };
    const activation = "testRelu" as LinearOptions["activation"];
    const fused = run((x, weight, bias) => linear(x, weight, bias, { activation }));
    const apart = run((x, weight, bias) => relu(linear(x, weight, bias)));
    for (const [i, name] of ["y", "dx", "dweight", "dbias"].entries()) {
      const [ours, expected] = await Promise.all([fused[i].data(), apart[i].data()]);
      assertAllClose(ours as Float32Array, expected as Float32Array, {
        rtol: 1e-6,
        atol: 1e-6,
        label: `${name}, ${[M, K, N]}`,
      });
    }
  }
});
