import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, max, mean, sum, sumSquares, Tensor, tidy } from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";
import { stretchedIndices } from "../../reference/pointwise.ts";

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

interface Case {
  shape: number[];
  axis?: number | number[];
  keepDims?: boolean;
}

/** Which element of the result each element of x goes to, and the result's shapes. */
function target({ shape, axis, keepDims }: Case) {
  const axes = axis === undefined
    ? shape.map((_, i) => i)
    : [axis].flat().map((a) => a < 0 ? a + shape.length : a);
  const kept = shape.map((n, i) => axes.includes(i) ? 1 : n);
  const result = keepDims ? kept : shape.filter((_, i) => !axes.includes(i));
  return { to: stretchedIndices(kept, shape), result, count: sizeOf(axes.map((a) => shape[a])) };
}

async function checkLinear(name: "sum" | "mean", test: Case): Promise<void> {
  const { to, result, count } = target(test);
  const factor = name === "mean" ? 1 / count : 1;
  // log2(n) rounding errors of the sum of magnitudes, which is 1.5 count at most here.
  const atol = (1 + Math.log2(count)) * 2 ** -24 * 1.5 * count * factor;
  await checkOp({
    label: `${name} ${JSON.stringify(test)}`,
    inputs: { x: { data: randomValues(3, sizeOf(test.shape)).map((v) => v + 0.5), shape: test.shape } },
    op: ({ x }) => (name === "sum" ? sum : mean)(x, { axis: test.axis, keepDims: test.keepDims }),
    shape: result,
    reference: ({ x }) => {
      const y = new Float64Array(sizeOf(result));
      to.forEach((at, i) => y[at] += x[i] * factor);
      return { y, gradients: (dy) => ({ x: Float64Array.from(to, (at) => dy[at] * factor) }) };
    },
    gate: { rtol: 0, atol },
    gradientGate: { rtol: 1e-6, atol: 1e-12 },
  });
}

const CASES: Case[] = [
  { shape: [] },
  { shape: [1] },
  { shape: [7] },
  { shape: [255] },
  { shape: [256] },
  { shape: [257] },
  { shape: [1021, 3] },
  { shape: [5, 7, 3], axis: 0 },
  { shape: [5, 7, 3], axis: 1 },
  { shape: [5, 7, 3], axis: 2 },
  { shape: [5, 7, 3], axis: -1, keepDims: true },
  { shape: [5, 7, 3], axis: [0, 2] },
  { shape: [5, 7, 3], axis: [1, 2], keepDims: true },
  { shape: [5, 7, 3], axis: [2, 0, 1] },
  { shape: [3, 1, 2, 5], axis: [1, 3] },
  { shape: [2, 4097], axis: 1 },
  { shape: [4097, 2], axis: 0 },
  { shape: [3, 509, 17], axis: 1 },
  { shape: [1, 1021], axis: 0 },
  { shape: [65_537, 1], axis: 0 },
];

for (const name of ["sum", "mean"] as const) {
  Deno.test(`${name}() over any axes and its gradient agree with the float64 reference`, async () => {
    for (const test of CASES) await checkLinear(name, test);
  });

  Deno.test(`${name}() of 2^20 + 1 elements stays within the bound of a tree`, async () => {
    await checkLinear(name, { shape: [2 ** 20 + 1] });
  });
}

Deno.test("sum() is exact where a naive float32 sum stops counting", async () => {
  const device = await defaultDevice();
  // 2^24 + 1 ones: a running float32 sum stays at 2^24.
  const size = 2 ** 24 + 1;
  using x = Tensor.from(new Float32Array(size).fill(1), { device });
  using y = sum(x);
  assertAllClose([await y.item()], [size], { rtol: 2 ** -23, atol: 0 });
  using signs = Tensor.from(Float32Array.from({ length: 2 ** 16 }, (_, i) => i % 2 ? 1e8 : -1e8), { device });
  using zero = sum(signs);
  assertEquals(await zero.item(), 0, "large terms that cancel");
});

Deno.test("max() over any axis and its gradient agree with the float64 reference", async () => {
  for (const test of CASES.filter((c) => typeof c.axis === "number")) {
    const { to, result } = target(test);
    await checkOp({
      label: `max ${JSON.stringify(test)}`,
      inputs: { x: { data: randomValues(4, sizeOf(test.shape)), shape: test.shape } },
      op: ({ x }) => max(x, { axis: test.axis as number, keepDims: test.keepDims }),
      shape: result,
      reference: ({ x }) => {
        const y = new Float64Array(sizeOf(result)).fill(-Infinity);
        const best = new Int32Array(y.length);
        to.forEach((at, i) => {
          if (x[i] > y[at]) [y[at], best[at]] = [x[i], i];
        });
        return {
          y,
          gradients: (dy) => {
            const dx = new Float64Array(x.length);
            best.forEach((i, at) => dx[i] = dy[at]);
            return { x: dx };
          },
        };
      },
      gate: { rtol: 0, atol: 0 },
      gradientGate: { rtol: 0, atol: 0 },
    });
  }
});

Deno.test("max() shares the gradient equally among ties, passes NaN on and knows infinities", async () => {
  const device = await defaultDevice();
  using x = Tensor.from([[3, 1, 3, 3], [2, 2, -1, 0]], { device, requiresGrad: true });
  using y = max(x, { axis: 1 });
  using dy = Tensor.from([6, 4], { device });
  y.backward(dy);
  assertEquals([...await x.grad!.data()], [2, 0, 2, 2, 2, 2, 0, 0]);
  using odd = Tensor.from([[1, NaN, 2], [-Infinity, -3, -4], [1, Infinity, 0]], { device });
  using top = max(odd, { axis: 1 });
  assertEquals([...await top.data()], [NaN, -3, Infinity]);
});

Deno.test("sum(), mean() and max() refuse empty tensors, other dtypes and axes that are not there", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const none = Tensor.from(new Float32Array(0), { device, shape: [0, 3] });
    const ids = Tensor.from(Int32Array.of(1, 2), { device });
    const x = Tensor.from([1, 2], { device });
    assertThrows(() => sum(none), RangeError, "Cannot sum an empty tensor of shape [0, 3]");
    assertThrows(() => mean(none), RangeError, "Cannot mean an empty tensor of shape [0, 3]");
    assertThrows(
      () => max(none, { axis: 0 }),
      RangeError,
      "Cannot take the maximum of an empty tensor of shape [0, 3]",
    );
    assertThrows(() => sum(ids), TypeError, "Cannot sum a int32 tensor of shape");
    assertThrows(
      () => max(ids, { axis: 0 }),
      TypeError,
      "Cannot take the maximum of a int32 tensor of shape",
    );
    assertThrows(
      () => sum(x, { axis: 1 }),
      RangeError,
      "Cannot sum: the axis must be from -1 to 0, received 1",
    );
  });
});

Deno.test("sumSquares() agrees with the float64 reference over any axis, also past one launch", async () => {
  const device = await defaultDevice();
  for (
    const [shape, axis] of [[[5, 7, 3], 0], [[5, 7, 3], 1], [[2, 3], -1], [[1021, 3], 0], [
      [2, 66_000],
      1,
    ]] as const
  ) {
    const { to, result } = target({ shape: [...shape], axis });
    const data = randomValues(3, sizeOf(shape));
    const expected = new Float64Array(sizeOf(result));
    to.forEach((at, i) => expected[at] += data[i] ** 2);
    using y = tidy(() => sumSquares(Tensor.from(data, { device, shape }), { axis }));
    assertEquals(y.shape, result);
    assertAllClose(await y.data(), expected, { rtol: 2e-6, label: `[${shape}] over ${axis}` });
  }
  tidy(() => {
    const ids = Tensor.from(Int32Array.of(1, 2), { device });
    assertThrows(() => sumSquares(ids, { axis: 0 }), TypeError, "Cannot sum squares of a int32 tensor");
    const none = Tensor.from(new Float32Array(0), { device, shape: [0, 2] });
    assertThrows(() => sumSquares(none, { axis: 0 }), RangeError, "Cannot sum squares of an empty tensor");
  });
});
