import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  defaultDevice,
  divide,
  exp,
  gelu,
  geluNew,
  isPositive,
  log,
  log1mExp,
  logSigmoid,
  multiply,
  negate,
  relu,
  scale,
  sigmoid,
  silu,
  softcap,
  sqrt,
  square,
  subtract,
  tanh,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import { checkOp } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";
import { erfcReference, stretchedIndices, unaryReference } from "../../reference/pointwise.ts";

const capped = (x: Tensor) => softcap(x, 2.5);
const unary = {
  ...{ negate, square, sqrt, exp, log, relu, sigmoid, silu, tanh, softcap: capped, geluNew, gelu },
  ...{ logSigmoid, log1mExp, isPositive },
};

/** Values between 0.1 and 4.1, or below 0. */
const RANGES: Partial<Record<keyof typeof unary, (v: number) => number>> = {
  sqrt: (v) => Math.abs(v) + 0.1,
  log: (v) => Math.abs(v) + 0.1,
  log1mExp: (v) => -Math.abs(v) - 1e-3,
};

/** Sizes around a thread's four elements and a workgroup's 256, primes, and more than one workgroup row. */
const SIZES = [1, 2, 3, 7, 63, 64, 65, 255, 256, 257, 1021, 4097];

/** f and its slope over flat values. */
function pointwiseReference(name: keyof typeof unary, x: ArrayLike<number>) {
  const { f, slope } = unaryReference[name];
  return {
    y: Float64Array.from(x, f),
    gradients: (dy: ArrayLike<number>) => ({ x: Float64Array.from(x, (v, i) => dy[i] * slope(v)) }),
  };
}

for (const name of Object.keys(unary) as (keyof typeof unary)[]) {
  Deno.test(`${name}() and its gradient agree with the float64 reference at every size`, async () => {
    for (const size of SIZES) {
      const spread = randomValues(size, size).map((v) => v * 4);
      await checkOp({
        label: `${name} of ${size}`,
        inputs: { x: { data: RANGES[name] ? spread.map(RANGES[name]) : spread, shape: [size] } },
        op: ({ x }) => unary[name](x),
        shape: [size],
        reference: ({ x }) => pointwiseReference(name, x),
        gate: { rtol: 2e-6, atol: 5e-7 },
      });
    }
  });
}

Deno.test("erfcReference() agrees with published values", () => {
  // NIST DLMF 7.23; Abramowitz and Stegun, table 7.1.
  assertAllClose(
    [0, 0.5, 1, 2, 2.5, 3, 4, -1].map(erfcReference),
    [
      1,
      0.4795001221869535,
      0.15729920705028513,
      0.004677734981047266,
      4.069520174449589e-4,
      2.209049699858544e-5,
      1.541725790028002e-8,
      1.8427007929497148,
    ],
    { rtol: 1e-12, atol: 0 },
  );
});

Deno.test("scale() multiplies by a number and so does its gradient", async () => {
  for (const c of [0.37, -3]) {
    await checkOp({
      label: `scale by ${c}`,
      inputs: { x: { data: randomValues(1, 129), shape: [3, 43] } },
      op: ({ x }) => scale(x, c),
      shape: [3, 43],
      reference: ({ x }) => ({
        y: Float64Array.from(x, (v) => v * Math.fround(c)),
        gradients: (dy) => ({ x: Float64Array.from(dy, (v) => v * Math.fround(c)) }),
      }),
    });
  }
});

/** 2^16 points in [-100, 100], and the numbers that break formulas. */
const GRID = Float32Array.from({ length: 2 ** 16 }, (_, i) => -100 + 200 * i / (2 ** 16 - 1));
const EDGES = [0, -0, 1e-40, -1e-40, 1e-20, -1e-20, 88, -88, 89, -89, 100, 1e20, -1e20, 3.4e38, -3.4e38];

async function valuesOf(op: (x: Tensor) => Tensor, x: Float32Array<ArrayBuffer>): Promise<Float32Array> {
  const device = await defaultDevice();
  using y = tidy(() => op(Tensor.from(x, { device })));
  return await y.data() as Float32Array;
}

async function slopesOf(op: (x: Tensor) => Tensor, x: Float32Array<ArrayBuffer>): Promise<Float32Array> {
  const device = await defaultDevice();
  using leaf = Tensor.from(x, { device, requiresGrad: true });
  using ones = Tensor.from(x.map(() => 1), { device });
  using y = op(leaf);
  y.backward(ones);
  return await leaf.grad!.data() as Float32Array;
}

Deno.test("tanh() is within 8 ULP on [-100, 100]", async () => {
  assertAllClose(await valuesOf(tanh, GRID), Float64Array.from(GRID, Math.tanh), {
    rtol: 8 * 2 ** -23,
    atol: 1e-45,
  });
});

for (const name of ["gelu", "geluNew"] as const) {
  Deno.test(`${name}() is within 5e-7 max(1, |x|) on [-100, 100]`, async () => {
    const actual = await valuesOf(unary[name], GRID);
    const excess = actual.map((y, i) =>
      Math.max(0, Math.abs(y - unaryReference[name].f(GRID[i])) - 5e-7 * Math.max(1, Math.abs(GRID[i])))
    );
    assertAllClose(excess, new Float64Array(GRID.length), { rtol: 0, atol: 0 });
  });
}

Deno.test("sigmoid() and silu() are within 1e-6 on [-100, 100]", async () => {
  for (const name of ["sigmoid", "silu"] as const) {
    const expected = Float64Array.from(GRID, unaryReference[name].f);
    assertAllClose(await valuesOf(unary[name], GRID), expected, { rtol: 1e-5, atol: 1e-7, label: name });
  }
});

Deno.test("tanh(), gelu(), geluNew(), sigmoid(), silu() and their gradients have no NaN for a finite x", async () => {
  const x = Float32Array.from([...EDGES, ...GRID.filter((_, i) => i % 64 === 0)]);
  for (const name of ["tanh", "gelu", "geluNew", "sigmoid", "silu"] as const) {
    const y = await valuesOf(unary[name], x);
    assertEquals([...x].filter((_, i) => !Number.isFinite(y[i])), [], `${name} of a finite x is finite`);
    const slope = await slopesOf(unary[name], x);
    assertEquals([...x].filter((_, i) => !Number.isFinite(slope[i])), [], `the slope of ${name} is finite`);
    const expected = Float64Array.from(x, unaryReference[name].slope);
    assertAllClose(slope, expected.map((v) => Number.isNaN(v) ? 0 : v), {
      rtol: 1e-4,
      atol: 2e-6,
      label: `slope of ${name}`,
    });
  }
});

Deno.test("tanh(), gelu(), geluNew(), sigmoid(), silu(), relu() and square() pass NaN on", async () => {
  for (const name of ["tanh", "gelu", "geluNew", "sigmoid", "silu", "relu", "square", "negate"] as const) {
    const y = await valuesOf(unary[name], Float32Array.of(NaN, 1));
    assert(Number.isNaN(y[0]), `${name}(NaN) is NaN, received ${y[0]}`);
    assert(!Number.isNaN(y[1]), `${name}(1) beside it is a number`);
  }
});

Deno.test("tanh(), sigmoid() and relu() have their limits at infinity", async () => {
  const ends = Float32Array.of(Infinity, -Infinity);
  assertEquals([...await valuesOf(tanh, ends)], [1, -1]);
  assertAllClose(await valuesOf(sigmoid, ends), [1, 0], { atol: 1e-38 });
  assertEquals([...await valuesOf(relu, ends)], [Infinity, 0]);
});

Deno.test("exp() keeps to WGSL's bound of 3 + 2 |x| ULP and log() to 4 ULP or 5e-7", async () => {
  const x = Float32Array.from({ length: 4096 }, (_, i) => -87 * i / 4095);
  const y = await valuesOf(exp, x);
  const excess = y.map((v, i) => {
    const e = Math.exp(x[i]);
    return Math.max(0, Math.abs(v - e) / e - (3 + 2 * Math.abs(x[i])) * 2 ** -23);
  });
  assertAllClose(excess, new Float64Array(x.length), { rtol: 0, atol: 0 });
  const positive = Float32Array.from({ length: 4096 }, (_, i) => 1e-3 * 1.004 ** i);
  assertAllClose(await valuesOf(log, positive), Float64Array.from(positive, Math.log), {
    rtol: 4 * 2 ** -23,
    atol: 5e-7,
  });
});

const binary = {
  add: { op: add, f: (p: number, q: number) => p + q, slopes: () => [1, 1] },
  subtract: { op: subtract, f: (p: number, q: number) => p - q, slopes: () => [1, -1] },
  multiply: { op: multiply, f: (p: number, q: number) => p * q, slopes: (p: number, q: number) => [q, p] },
  divide: {
    op: divide,
    f: (p: number, q: number) => p / q,
    slopes: (p: number, q: number) => [1 / q, -p / (q * q)],
  },
};

/** Pairs after PyTorch's `generate_elementwise_binary_broadcasting_tensors`, and sizes that no four divide. */
const PAIRS: [number[], number[], number[]][] = [
  [[7], [7], [7]],
  [[1], [5], [5]],
  [[], [3, 5], [3, 5]],
  [[4, 1], [1, 3], [4, 3]],
  [[3, 1, 2], [1, 3, 2], [3, 3, 2]],
  [[2, 3, 5], [5], [2, 3, 5]],
  [[2, 3, 5], [3, 1], [2, 3, 5]],
  [[1, 1, 1], [2, 3, 7], [2, 3, 7]],
  [[2, 1, 3, 1], [1, 5, 1, 7], [2, 5, 3, 7]],
  [[17, 31], [17, 1], [17, 31]],
  [[129], [257, 1], [257, 129]],
  [[0], [1], [0]],
  [[3, 0], [1, 1], [3, 0]],
];

for (const [name, { op, f, slopes }] of Object.entries(binary)) {
  Deno.test(`${name}() broadcasts and its gradients sum over what was stretched`, async () => {
    for (const [a, b, shape] of PAIRS) {
      const size = (s: number[]) => s.reduce((x, y) => x * y, 1);
      const [ia, ib] = [stretchedIndices(a, shape), stretchedIndices(b, shape)];
      await checkOp({
        label: `${name} [${a}] [${b}]`,
        inputs: {
          a: { data: randomValues(1, size(a)), shape: a },
          b: { data: randomValues(2, size(b)).map((v) => v + Math.sign(v)), shape: b },
        },
        op: ({ a, b }) => op(a, b),
        shape,
        reference: ({ a, b }) => ({
          y: Float64Array.from(ia, (at, i) => f(a[at], b[ib[i]])),
          gradients: (dy) => {
            const da = new Float64Array(a.length);
            const db = new Float64Array(b.length);
            ia.forEach((at, i) => {
              const [p, q] = slopes(a[at], b[ib[i]]);
              da[at] += dy[i] * p;
              db[ib[i]] += dy[i] * q;
            });
            return { a: da, b: db };
          },
        }),
        // 1 ULP, 3 ULP for the quotient (WGSL section 15.7.4)
        gate: { rtol: (name === "divide" ? 3 : 1) * 2 ** -23, atol: 1e-38 },
        gradientGate: { rtol: 1e-4, atol: 1e-5 },
      });
    }
  });
}

Deno.test("add() of one tensor to itself doubles its gradient", async () => {
  await checkOp({
    label: "x + x",
    inputs: { x: { data: randomValues(1, 33), shape: [33] } },
    op: ({ x }) => add(x, x),
    shape: [33],
    reference: ({ x }) => ({
      y: Float64Array.from(x, (v) => 2 * v),
      gradients: (dy) => ({ x: Float64Array.from(dy, (v) => 2 * v) }),
    }),
  });
});

Deno.test("multiply() and the others take numbers on either side and free them", async () => {
  const device = await defaultDevice();
  const before = device.memory.liveBytes;
  const x = Tensor.from([1, 2, 4], { device, requiresGrad: true });
  const results = [multiply(x, 3), multiply(3, x), add(x, 1), subtract(1, x), divide(x, 2), divide(2, x)];
  const expected = [[3, 6, 12], [3, 6, 12], [2, 3, 5], [0, -1, -3], [0.5, 1, 2], [2, 1, 0.5]];
  for (const [i, y] of results.entries()) assertEquals([...await y.data()], expected[i]);
  for (const tensor of [...results, x]) tensor.dispose();
  assertEquals(device.memory.liveBytes, before);
});

Deno.test("pointwise ops right at and past 65,535 workgroups write every element", async () => {
  const device = await defaultDevice();
  // A workgroup takes 256 elements, so 65,535 of them take 16,776,960: the grid folds into two dimensions after.
  const limit = 65_535 * 256;
  const size = limit + 257;
  using x = Tensor.from(new Float32Array(size).fill(2), { device });
  const marks = [0, 255, 256, limit - 257, limit - 1, limit, limit + 1, limit + 255, limit + 256];
  using y = square(x);
  const values = await y.data();
  for (const at of marks) assertEquals(values[at], 4, `element ${at} of ${size}`);
  assert(values.every((v) => v === 4), "no gap");
});

Deno.test("pointwise ops refuse other dtypes and shapes that do not broadcast", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const ids = Tensor.from(Int32Array.of(1, 2), { device });
    const x = Tensor.from([1, 2], { device });
    assertThrows(
      () => exp(ids),
      TypeError,
      "Cannot exp a int32 tensor of shape [2]: float32 is required",
    );
    assertThrows(() => add(x, ids), TypeError, "Cannot add a int32 tensor of shape [2]: float32 is required");
    assertThrows(
      () => multiply(x, Tensor.from([1, 2, 3], { device })),
      TypeError,
      "Cannot multiply [2] and [3]: sizes must be equal or 1, received 2 and 3",
    );
    const wide = Tensor.from(new Float32Array(32), { device, shape: [2, 1, 2, 1, 2, 1, 2, 1, 2] });
    const tall = Tensor.from(new Float32Array(16), { device, shape: [1, 2, 1, 2, 1, 2, 1, 2, 1] });
    assertThrows(() => add(wide, tall), TypeError, "at most four separate dimensions are supported");
  });
});

Deno.test("divide() gives the denominator's gradient also where its square leaves float32's range", async () => {
  const device = await defaultDevice();
  const p = Float32Array.of(1e-30, 2e25, -3e-20, 4e30);
  const q = Float32Array.of(1e-25, 1e30, 1e-30, -2e20);
  using tp = Tensor.from(p, { device, requiresGrad: true });
  using tq = Tensor.from(q, { device, requiresGrad: true });
  using y = divide(tp, tq);
  using ones = Tensor.from([1, 1, 1, 1], { device });
  y.backward(ones);
  const expected = Float64Array.from(p, (v, i) => -v / q[i] / q[i]);
  expected[2] = Infinity; // 3e40 is over float32's range
  assertAllClose(await tq.grad!.data(), expected, { rtol: 1e-6, atol: 0 });
  assertAllClose(await tp.grad!.data(), Float64Array.from(q, (v) => 1 / v), { rtol: 1e-6, atol: 0 });
});

Deno.test("logSigmoid() and log1mExp() keep their digits where the probability is next to 0 or 1", async () => {
  const device = await defaultDevice();
  const cases = [
    ["logSigmoid", logSigmoid, [-200, -88, -30, -1e-6, 0, 1e-6, 2, 5, 12, 17, 30, 80]],
    ["log1mExp", log1mExp, [-80, -17, -8, -2, -0.7, -0.6931472, -0.69, -0.3, -1e-2, -1e-6]],
  ] as const;
  for (const [name, op, values] of cases) {
    const x = Float32Array.from(values);
    using input = Tensor.from(x, { device, requiresGrad: true });
    using y = op(input);
    const expected = Float64Array.from(x, unaryReference[name].f);
    // WGSL allows e^x 3 + 2 |x| ULP
    assertAllClose(await y.data(), expected, { rtol: 3e-6, atol: 1e-37, label: name });
    using ones = Tensor.from(new Float32Array(x.length).fill(1), { device });
    y.backward(ones);
    const slopes = Float64Array.from(x, unaryReference[name].slope);
    assertAllClose(await input.grad!.data(), slopes, { rtol: 3e-6, atol: 1e-37, label: `${name}'s slope` });
    using none = op(Tensor.from([NaN], { device }));
    assert(Number.isNaN((await none.data())[0]));
  }
});
