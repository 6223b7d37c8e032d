import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { add, defaultDevice, type Device, rmsNorm, scale, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp, hardwareVariants, type Values } from "../../reference/check_op.ts";
import { ownDevice } from "../../reference/fixtures.ts";
import { randomValues } from "../../reference/matmul.ts";

/** Root mean square norm of rows in float64, plus a residual where there is one. */
function rmsNormReference({ x, weight, residual }: Values, eps: number, offset: number) {
  const cols = weight.length;
  const rows = x.length / cols;
  const normal = new Float64Array(x.length);
  const rstd = new Float64Array(rows);
  const y = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    for (let c = 0; c < cols; c++) squares += x[r * cols + c] ** 2;
    rstd[r] = 1 / Math.sqrt(squares / cols + eps);
    for (let c = 0; c < cols; c++) {
      const i = r * cols + c;
      normal[i] = x[i] * rstd[r];
      y[i] = normal[i] * (weight[c] + offset) + (residual?.[i] ?? 0);
    }
  }
  const gradients = (dy: ArrayLike<number>) => {
    const dx = new Float64Array(x.length);
    const dweight = new Float64Array(cols);
    for (let r = 0; r < rows; r++) {
      let mean = 0;
      for (let c = 0; c < cols; c++) {
        const i = r * cols + c;
        mean += dy[i] * (weight[c] + offset) * normal[i] / cols;
        dweight[c] += dy[i] * normal[i];
      }
      for (let c = 0; c < cols; c++) {
        const i = r * cols + c;
        dx[i] = rstd[r] * (dy[i] * (weight[c] + offset) - normal[i] * mean);
      }
    }
    return { x: dx, weight: dweight, ...(residual && { residual: Float64Array.from(dy) }) };
  };
  return { y, gradients };
}

interface Options {
  offset?: number;
  residual?: boolean;
  frozen?: string[];
}

async function check(
  device: Device,
  rows: number,
  cols: number,
  { offset = 0, residual = false, frozen = [] }: Options = {},
): Promise<void> {
  await checkOp({
    label: `rmsNorm [${rows}, ${cols}] + ${offset}${residual ? " + residual" : ""} on ${
      device.profile.kind === "software" ? "threads" : "workgroups"
    } -${frozen}`,
    device,
    frozen,
    inputs: {
      x: { data: randomValues(1, rows * cols).map((v) => v * 1.7 + 0.3), shape: [rows, cols] },
      weight: { data: randomValues(2, cols).map((v) => v + 1.2 - offset), shape: [cols] },
      ...(residual && { residual: { data: randomValues(3, rows * cols), shape: [rows, cols] } }),
    },
    op: ({ x, weight, residual }) => rmsNorm(x, weight, { eps: 1e-5, offset, residual }),
    shape: [rows, cols],
    reference: (values) => rmsNormReference(values, 1e-5, offset),
    gate: { rtol: 1e-5, atol: 2e-6 },
    // One column: dx is what eps leaves of a difference.
    gradientGate: { rtol: 1e-4, atol: cols === 1 ? 1e-4 : 2e-6 * Math.sqrt(rows) },
  });
}

for (const variant of ["thread", "workgroup"] as const) {
  Deno.test(`rmsNorm() and its gradients agree with the float64 reference, one ${variant} per row`, async () => {
    const device = variant === "thread" ? await ownDevice() : await hardwareVariants();
    for (const cols of [2, 3, 4, 64, 127, 128, 576, 769, 4097]) await check(device, 5, cols);
    for (const cols of [3, 64, 769]) await check(device, 5, cols, { offset: 1, residual: true });
    for (const rows of [1, 17, 31, 32, 33, 257]) await check(device, rows, 12, { offset: 1 });
    await check(device, 70, 13, { residual: true });
    await check(device, 1021, 3);
  });
}

Deno.test("rmsNorm() computes only the gradients that are wanted", async () => {
  const device = await ownDevice();
  for (const frozen of [["x"], ["weight"], ["residual"], ["x", "weight"], ["x", "residual"]]) {
    await check(device, 3, 20, { residual: true, frozen });
  }
  await check(device, 3, 20, { frozen: ["x", "weight"] });
});

Deno.test("rmsNorm() adds the gradient of the residual stream in its own kernel", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    const [rows, cols] = [5, 20];
    const data = randomValues(1, rows * cols);
    const gain = randomValues(2, cols);
    using x = Tensor.from(data, { device, shape: [rows, cols], requiresGrad: true });
    using weight = Tensor.from(gain, { device });
    const dy = randomValues(3, rows * cols);
    tidy(() => {
      const twice = scale(x, 2);
      const y = add(twice, rmsNorm(twice, weight));
      y.backward(Tensor.from(dy, { device, shape: [rows, cols] }));
    });
    const doubled = { x: data.map((v) => 2 * v), weight: gain };
    const { x: dx } = rmsNormReference(doubled, 1e-6, 0).gradients(dy);
    assertAllClose(await x.grad!.data(), dx.map((d, i) => 2 * (d + dy[i])), { rtol: 1e-4, atol: 1e-5 });
    x.grad!.dispose();
  }
});

Deno.test("rmsNorm() of a row of zeros is zero with a finite gradient, and takes eps", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const cols of [1, 5, 8]) {
      using x = Tensor.from(new Float32Array(2 * cols), { device, shape: [2, cols], requiresGrad: true });
      using weight = Tensor.from(new Float32Array(cols).fill(2), { device });
      using y = rmsNorm(x, weight);
      assertEquals([...await y.data()], Array(2 * cols).fill(0));
      using dy = Tensor.from(randomValues(2, 2 * cols), { device, shape: [2, cols] });
      y.backward(dy);
      assert((await x.grad!.data()).every(Number.isFinite));
    }
  }
});

Deno.test("rmsNorm() counts every row of two million into the gradient of its weight", async () => {
  const device = await defaultDevice();
  const [rows, cols] = [2 ** 21 + 100, 2]; // more chunks of 32 rows than the iterations that one software driver runs
  using x = Tensor.from(new Float32Array(rows * cols).fill(1), { device, shape: [rows, cols] });
  using weight = Tensor.from([1, 1], { device, requiresGrad: true });
  using y = rmsNorm(x, weight, { eps: 1e-30 });
  using dy = Tensor.from(new Float32Array(rows * cols).fill(1), { device, shape: [rows, cols] });
  y.backward(dy);
  assertEquals([...await weight.grad!.data()], [rows, rows]);
});

Deno.test("rmsNorm() of no rows is empty, forward and backward", async () => {
  const device = await defaultDevice();
  using x = Tensor.from(new Float32Array(0), { device, shape: [0, 4], requiresGrad: true });
  using weight = Tensor.from([1, 1, 1, 1], { device, requiresGrad: true });
  using y = rmsNorm(x, weight);
  using dy = Tensor.from(new Float32Array(0), { device, shape: [0, 4] });
  y.backward(dy);
  assertEquals([...await weight.grad!.data()], [0, 0, 0, 0]);
});

Deno.test("rmsNorm() refuses a weight or a residual of another size, and ids", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const x = Tensor.from(new Float32Array(8), { device, shape: [2, 4] });
    const good = Tensor.from(new Float32Array(4), { device });
    const bad = Tensor.from(new Float32Array(3), { device });
    assertThrows(
      () => rmsNorm(x, bad),
      TypeError,
      "Cannot compute rmsNorm of x [2, 4]: weight must have shape [4], the last axis of x, received [3]",
    );
    assertThrows(
      () => rmsNorm(x, good, { residual: good }),
      TypeError,
      "a float32 residual of the same shape is required, received float32 [4]",
    );
    const ids = Tensor.from(new Int32Array(4), { device });
    assertThrows(() => rmsNorm(ids, good), TypeError, "Cannot normalise a int32 tensor");
  });
});
