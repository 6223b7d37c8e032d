import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, type Device, layerNorm, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp, hardwareVariants, type Values } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";

/** Layer norm of rows in float64. */
function layerNormReference({ x, weight, bias }: Values, eps: number) {
  const cols = weight.length;
  const rows = x.length / cols;
  const y = new Float64Array(x.length);
  const normal = new Float64Array(x.length);
  const rstd = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = Float64Array.from({ length: cols }, (_, c) => x[r * cols + c]);
    const mean = row.reduce((a, b) => a + b, 0) / cols;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / cols;
    rstd[r] = 1 / Math.sqrt(variance + eps);
    row.forEach((v, c) => {
      normal[r * cols + c] = (v - mean) * rstd[r];
      y[r * cols + c] = normal[r * cols + c] * weight[c] + bias[c];
    });
  }
  const gradients = (dy: ArrayLike<number>) => {
    const dx = new Float64Array(x.length);
    const dweight = new Float64Array(cols);
    const dbias = new Float64Array(cols);
    for (let r = 0; r < rows; r++) {
      let g = 0;
      let gn = 0;
      for (let c = 0; c < cols; c++) {
        const i = r * cols + c;
        g += dy[i] * weight[c] / cols;
        gn += dy[i] * weight[c] * normal[i] / cols;
        dweight[c] += dy[i] * normal[i];
        dbias[c] += dy[i];
      }
      for (let c = 0; c < cols; c++) {
        const i = r * cols + c;
        dx[i] = rstd[r] * (dy[i] * weight[c] - g - normal[i] * gn);
      }
    }
    return { x: dx, weight: dweight, bias: dbias };
  };
  return { y, gradients };
}

async function check(device: Device, rows: number, cols: number, frozen: string[] = []): Promise<void> {
  await checkOp({
    label: `layerNorm [${rows}, ${cols}] on ${
      device.profile.kind === "software" ? "threads" : "workgroups"
    } -${frozen}`,
    device,
    frozen,
    inputs: {
      x: { data: randomValues(1, rows * cols).map((v) => v * 1.7 + 0.3), shape: [rows, cols] },
      weight: { data: randomValues(2, cols).map((v) => v + 1.2), shape: [cols] },
      bias: { data: randomValues(3, cols), shape: [cols] },
    },
    op: ({ x, weight, bias }) => layerNorm(x, weight, bias),
    shape: [rows, cols],
    reference: (values) => layerNormReference(values, 1e-5),
    gate: { rtol: 1e-5, atol: 2e-6 },
    gradientGate: { rtol: 1e-4, atol: cols === 1 ? 1e-4 : 2e-6 * Math.sqrt(rows) },
  });
}

for (const variant of ["thread", "workgroup"] as const) {
  Deno.test(`layerNorm() and its gradients agree with the float64 reference, a row a ${variant}`, async () => {
    const device = variant === "thread" ? await ownDevice() : await hardwareVariants();
    for (const cols of [3, 4, 64, 127, 128, 768, 769, 1600, 4097]) await check(device, 5, cols);
    for (const rows of [1, 17, 31, 32, 33, 257]) await check(device, rows, 12);
    await check(device, 70, 13);
    await check(device, 1021, 3);
  });
}

Deno.test("layerNorm() computes only the gradients that are wanted", async () => {
  const device = await ownDevice();
  for (const frozen of [["x"], ["weight"], ["bias"], ["weight", "bias"], ["x", "bias"], ["x", "weight"]]) {
    await check(device, 3, 20, frozen);
  }
  await check(device, 3, 20, ["x", "weight", "bias"]);
});

Deno.test("layerNorm() of rows with mean 1000 and deviation 0.01 does not cancel", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const cols of [769, 768]) {
      const x = randomValues(7, 4 * cols).map((v) => 1e3 + 1e-2 * v);
      const ones = new Float32Array(cols).fill(1);
      const zeros = new Float32Array(cols);
      using y = tidy(() =>
        layerNorm(
          Tensor.from(x, { device, shape: [4, cols] }),
          Tensor.from(ones, { device }),
          Tensor.from(zeros, { device }),
        )
      );
      const { y: expected } = layerNormReference({ x, weight: ones, bias: zeros }, 1e-5);
      // E[x^2] - E[x]^2 would be off by everything here
      assertAllClose(await y.data(), expected, { rtol: 5e-2, atol: 5e-2 });
    }
  }
});

Deno.test("layerNorm() of a constant row is the bias, with a finite gradient, and takes eps", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const cols of [1, 5, 8]) {
      const bias = randomValues(1, cols);
      using x = Tensor.from(new Float32Array(2 * cols).fill(0.5), {
        device,
        shape: [2, cols],
        requiresGrad: true,
      });
      using weight = Tensor.from(new Float32Array(cols).fill(2), { device });
      using shift = Tensor.from(bias, { device });
      using y = layerNorm(x, weight, shift, { eps: 1e-12 });
      assertAllClose(await y.data(), [...bias, ...bias], { rtol: 0, atol: 1e-7 });
      using dy = Tensor.from(randomValues(2, 2 * cols), { device, shape: [2, cols] });
      y.backward(dy);
      assert((await x.grad!.data()).every(Number.isFinite));
    }
    const x = randomValues(3, 12);
    const one = new Float32Array(4).fill(1);
    using y = tidy(() =>
      layerNorm(
        Tensor.from(x, { device, shape: [3, 4] }),
        Tensor.from(one, { device }),
        Tensor.from(one, { device }),
        { eps: 0.5 },
      )
    );
    assertAllClose(await y.data(), layerNormReference({ x, weight: one, bias: one }, 0.5).y);
  }
});

Deno.test("layerNorm() of no rows is empty, forward and backward", async () => {
  const device = await defaultDevice();
  using x = Tensor.from(new Float32Array(0), { device, shape: [0, 4], requiresGrad: true });
  using weight = Tensor.from([1, 1, 1, 1], { device, requiresGrad: true });
  using bias = Tensor.from([1, 1, 1, 1], { device, requiresGrad: true });
  using y = layerNorm(x, weight, bias);
  using dy = Tensor.from(new Float32Array(0), { device, shape: [0, 4] });
  y.backward(dy);
  assertEquals([...await weight.grad!.data()], [0, 0, 0, 0]);
  assertEquals([...await bias.grad!.data()], [0, 0, 0, 0]);
});

Deno.test("layerNorm() refuses a weight or bias of another size, and ids", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const x = Tensor.from(new Float32Array(8), { device, shape: [2, 4] });
    const good = Tensor.from(new Float32Array(4), { device });
    const bad = Tensor.from(new Float32Array(3), { device });
    assertThrows(
      () => layerNorm(x, bad, good),
      TypeError,
      "Cannot compute layerNorm of x [2, 4]: weight must have shape [4], the last axis of x, received [3]",
    );
    assertThrows(() => layerNorm(x, good, bad), TypeError, "bias must have shape [4]");
    const ids = Tensor.from(new Int32Array(4), { device });
    assertThrows(() => layerNorm(ids, good, good), TypeError, "Cannot normalise a int32 tensor");
  });
});

Deno.test("layerNorm() counts every row of two million into its parameters' gradients", async () => {
  const device = await defaultDevice();
  const [rows, cols] = [2 ** 21 + 100, 2]; // 65,540 chunks of 32 rows: one software driver runs 65,535 iterations
  using x = Tensor.from(new Float32Array(rows * cols), { device, shape: [rows, cols] });
  using weight = Tensor.from([1, 1], { device, requiresGrad: true });
  using bias = Tensor.from([0, 0], { device, requiresGrad: true });
  using y = layerNorm(x, weight, bias);
  using dy = Tensor.from(new Float32Array(rows * cols).fill(1), { device, shape: [rows, cols] });
  y.backward(dy);
  assertEquals([...await bias.grad!.data()], [rows, rows]);
  assertEquals([...await weight.grad!.data()], [0, 0]);
});
