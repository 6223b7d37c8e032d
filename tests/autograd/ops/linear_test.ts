import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  add,
  cast,
  defaultDevice,
  linear,
  loraLinear,
  noGrad,
  scale,
  Tensor,
  tidy,
} from "../../../autograd/mod.ts";
import {
  fromHalfBits,
  geluNewDerivativeReference,
  geluNewReference,
  matmulReference,
  randomValues,
  toHalfBits,
} from "../../reference/matmul.ts";

interface Case {
  rows: number[];
  inFeatures: number;
  outFeatures: number;
  layout: "conv1d" | "linear";
  bias?: boolean;
  gelu?: boolean;
  residual?: boolean;
  half?: boolean;
  /** LoRA rank; 0 is the plain layer. */
  rank?: number;
  dropped?: boolean;
  scale?: number;
}

type Values = Record<string, Float32Array<ArrayBuffer>>;

function inputs(test: Case): Values {
  const { inFeatures: K, outFeatures: N, rank = 0 } = test;
  const M = test.rows.reduce((a, b) => a * b, 1);
  const weight = randomValues(2, K * N);
  return {
    x: randomValues(1, M * K),
    weight: test.half ? Float32Array.from(toHalfBits(weight), fromHalfBits) : weight,
    bias: randomValues(3, N),
    residual: randomValues(4, M * N),
    dy: randomValues(5, M * N),
    loraA: randomValues(6, rank * K),
    loraB: randomValues(7, N * rank),
    xDropped: randomValues(8, M * K).map((v) => v < 0 ? 0 : v),
  };
}

/** y and every gradient in float64, from the formulas in the head of linear.ts. */
function reference(test: Case, v: Values, wrong = 1) {
  const { inFeatures: K, outFeatures: N, rank: R = 0, layout, scale = 1 } = test;
  const M = test.rows.reduce((a, b) => a * b, 1);
  const transposeB = layout === "linear";
  const xd = test.dropped ? v.xDropped : v.x;
  const z = matmulReference(v.x, v.weight, { M, N, K, transposeB }).y;
  const u = matmulReference(xd, v.loraA, { M, N: R, K, transposeB: true }).y.map((e) => e * scale * wrong);
  const low = matmulReference(u, v.loraB, { M, N, K: R, transposeB: true }).y;
  for (let i = 0; i < z.length; i++) z[i] += low[i] + (test.bias ? v.bias[i % N] : 0);
  const y = z.map((e, i) => (test.gelu ? geluNewReference(e) : e) + (test.residual ? v.residual[i] : 0));
  const dz = Float64Array.from(v.dy, (d, i) => test.gelu ? d * geluNewDerivativeReference(z[i]) : d);
  const dx = matmulReference(dz, v.weight, { M, N: K, K: N, transposeB: !transposeB }).y;
  const dweight = transposeB
    ? matmulReference(dz, v.x, { M: N, N: K, K: M, transposeA: true }).y
    : matmulReference(v.x, dz, { M: K, N, K: M, transposeA: true }).y;
  const dbias = new Float64Array(N);
  dz.forEach((d, i) => dbias[i % N] += d);
  const du = matmulReference(dz, v.loraB, { M, N: R, K: N }).y.map((e) => e * scale * wrong);
  const dxd = matmulReference(du, v.loraA, { M, N: K, K: R }).y;
  if (!test.dropped) dxd.forEach((d, i) => dx[i] += d);
  return {
    y,
    x: dx,
    weight: dweight,
    bias: dbias,
    residual: v.dy,
    loraA: matmulReference(du, xd, { M: R, N: K, K: M, transposeA: true }).y,
    loraB: matmulReference(dz, u, { M: N, N: R, K: M, transposeA: true }).y,
    xDropped: dxd,
  };
}

const closeEnough = (label: string, terms: number) => ({ rtol: 1e-4, atol: 2e-6 * Math.sqrt(terms), label });

/** Compares y and the gradients named by `train`; the others must stay null. */
async function check(test: Case, train?: string[], wrong = 1): Promise<void> {
  const device = await defaultDevice();
  const { inFeatures: K, outFeatures: N, rank: R = 0, layout, scale = 1 } = test;
  const v = inputs(test);
  const all = [
    "x",
    ...(test.half ? [] : ["weight"]),
    ...(test.bias ? ["bias"] : []),
    ...(test.residual ? ["residual"] : []),
    ...(R ? ["loraA", "loraB"] : []),
    ...(test.dropped ? ["xDropped"] : []),
  ];
  const wanted = new Set(train ?? all);
  const shapes: Record<string, number[]> = {
    x: [...test.rows, K],
    weight: layout === "conv1d" ? [K, N] : [N, K],
    bias: [N],
    residual: [...test.rows, N],
    loraA: [R, K],
    loraB: [N, R],
    xDropped: [...test.rows, K],
  };
  const t: Record<string, Tensor> = {};
  for (const name of Object.keys(shapes)) {
    t[name] = name === "weight" && test.half
      ? Tensor.from(toHalfBits(v.weight), { device, shape: shapes.weight, dtype: "float16" })
      : Tensor.from(v[name], { device, shape: shapes[name], requiresGrad: wanted.has(name) });
  }
  const options = {
    layout,
    activation: test.gelu ? "gelu_new" as const : undefined,
    residual: test.residual ? t.residual : null,
    xDropped: test.dropped ? t.xDropped : null,
  };
  const bias = test.bias ? t.bias : null;
  const y = R
    ? loraLinear(t.x, t.weight, bias, t.loraA, t.loraB, scale, options)
    : linear(t.x, t.weight, bias, options);
  const label = JSON.stringify(test);
  const expected: Record<string, ArrayLike<number>> = reference(test, v, wrong);
  assertAllClose(await y.data(), expected.y, closeEnough(`${label} y`, K + R));
  const dy = Tensor.from(v.dy, { device, shape: y.shape });
  y.backward(dy);
  for (const name of Object.keys(shapes)) {
    if (!wanted.has(name)) {
      assertEquals(t[name].grad, null, `${label} d${name} is not wanted`);
      continue;
    }
    const tolerance = closeEnough(`${label} d${name}`, 4 * Math.max(K, N, R));
    assertAllClose(await t[name].grad!.data(), expected[name], tolerance);
  }
  for (const tensor of [...Object.values(t), y, dy]) tensor.dispose();
}

Deno.test("linear() and its gradients agree with the float64 reference in both layouts", async () => {
  for (const layout of ["conv1d", "linear"] as const) {
    await check({ rows: [1], inFeatures: 1, outFeatures: 1, layout, bias: true });
    await check({ rows: [2, 9], inFeatures: 16, outFeatures: 48, layout, bias: true, residual: true });
    await check({ rows: [33], inFeatures: 31, outFeatures: 17, layout, bias: true, gelu: true });
    await check({ rows: [3, 2, 5], inFeatures: 64, outFeatures: 7, layout });
    await check({
      rows: [20],
      inFeatures: 24,
      outFeatures: 32,
      layout,
      bias: true,
      gelu: true,
      residual: true,
    });
  }
});

Deno.test("linear() computes gradients only where they are wanted", async () => {
  const test: Case = { rows: [9], inFeatures: 12, outFeatures: 8, layout: "conv1d", bias: true, gelu: true };
  for (const train of [["x"], ["weight"], ["bias"], ["x", "bias"]]) await check(test, train);
});

Deno.test("linear() takes float16 weights and passes gradients through them", async () => {
  for (const layout of ["conv1d", "linear"] as const) {
    await check({ rows: [9], inFeatures: 12, outFeatures: 20, layout, bias: true, half: true });
    await check({ rows: [5], inFeatures: 6, outFeatures: 10, layout, half: true, gelu: true });
    await check({ rows: [17], inFeatures: 64, outFeatures: 64, layout, half: true, rank: 4, scale: 2 });
  }
});

Deno.test("loraLinear() and its gradients agree with the float64 reference for aligned and odd ranks", async () => {
  for (const layout of ["conv1d", "linear"] as const) {
    await check({ rows: [2, 9], inFeatures: 16, outFeatures: 48, layout, bias: true, rank: 8, scale: 4 });
    await check({ rows: [7], inFeatures: 13, outFeatures: 9, layout, rank: 3, scale: 0.5, residual: true });
    await check({ rows: [33], inFeatures: 32, outFeatures: 20, layout, bias: true, gelu: true, rank: 4 });
    await check({ rows: [10], inFeatures: 16, outFeatures: 24, layout, bias: true, rank: 16, dropped: true });
    await check({ rows: [6], inFeatures: 20, outFeatures: 24, layout, rank: 1, dropped: true, gelu: true });
  }
});

Deno.test("loraLinear() trains the adapter alone when the layer is frozen", async () => {
  const test: Case = { rows: [12], inFeatures: 16, outFeatures: 24, layout: "conv1d", bias: true, rank: 8 };
  await check(test, ["loraA", "loraB"]);
  await check(test, ["x", "loraA", "loraB"]);
  await check({ ...test, dropped: true }, ["xDropped", "loraB"]);
});

Deno.test("loraLinear() with a scale 1% off fails the comparison", async () => {
  const test: Case = { rows: [12], inFeatures: 16, outFeatures: 24, layout: "conv1d", rank: 8, scale: 2 };
  let message = "";
  await check(test, undefined, 1.01).catch((error: Error) => message = error.message);
  assert(message.includes("elements differ"), `a wrong formula must fail, received "${message}"`);
});

Deno.test("linear() frees everything it makes", async () => {
  const device = await defaultDevice();
  const step = () =>
    tidy(() => {
      const x = Tensor.from(randomValues(1, 32), { device, shape: [4, 8], requiresGrad: true });
      const weight = Tensor.from(randomValues(2, 96), { device, shape: [8, 12] });
      const A = Tensor.from(randomValues(3, 32), { device, shape: [4, 8], requiresGrad: true });
      const B = Tensor.from(randomValues(4, 48), { device, shape: [12, 4], requiresGrad: true });
      const options = { layout: "conv1d" as const, activation: "gelu_new" as const };
      const y = loraLinear(x, weight, null, A, B, 2, options);
      y.backward(y.detach());
      noGrad(() => loraLinear(x, weight, null, A, B, 2, options));
      for (const tensor of [x, A, B]) tensor.dispose();
    });
  step();
  const before = device.memory.liveBytes;
  step();
  assertEquals(device.memory.liveBytes, before);
});

Deno.test("linear() names the shape it requires when an operand does not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) =>
      Tensor.from(new Float32Array(shape.reduce((a, b) => a * b, 1)), { device, shape });
    const x = zeros(2, 6);
    const weight = zeros(6, 4);
    assertThrows(
      () => linear(x, weight, null, { layout: "linear" }),
      TypeError,
      "Cannot apply linear: the last size of x [2, 6] must be 4, the input size of a linear weight [6, 4]",
    );
    assertThrows(() => linear(x, zeros(6), null), TypeError, "a weight of rank 2 are required");
    assertThrows(
      () => linear(x, weight, zeros(6), { layout: "conv1d" }),
      TypeError,
      "a float32 bias [4] is required, received float32 [6]",
    );
    assertThrows(
      () => linear(x, weight, null, { layout: "conv1d", residual: zeros(2, 6) }),
      TypeError,
      "a float32 residual [2, 4] is required",
    );
    assertThrows(
      () => linear(x, cast(zeros(5, 4), "int32"), null),
      TypeError,
      "a float32 or float16 weight is required, received int32",
    );
    assertThrows(
      () => loraLinear(x, weight, null, zeros(2, 6), zeros(4, 3), 1, { layout: "conv1d" }),
      TypeError,
      "float32 loraA [R, 6] and loraB [4, R] are required",
    );
    assertThrows(
      () =>
        loraLinear(x, weight, null, zeros(2, 6), zeros(4, 2), 1, { layout: "conv1d", xDropped: zeros(2, 4) }),
      TypeError,
      "xDropped must be float32 [2, 6]",
    );
  });
});

Deno.test("linear() and loraLinear() add what other ops have sent to x in the product's own kernel", async () => {
  const device = await defaultDevice();
  const [rows, C, N, R] = [5, 12, 7, 3];
  const make = (seed: number, ...shape: number[]) =>
    Tensor.from(randomValues(seed, shape.reduce((a, b) => a * b, 1)), { device, shape });
  const [w1, w2, a, b] = [make(2, N, C), make(3, N, C), make(4, R, C), make(5, N, R)];
  /** Gradient of x, and the launches of backward, for `ops` of the sum of which x + 0 is the input. */
  const gradient = async (...ops: ((x: Tensor) => Tensor)[]) => {
    const x = make(1, rows, C);
    x.requiresGrad = true;
    const launches = tidy(() => {
      const inner = scale(x, 1);
      const y = ops.map((op) => op(inner)).reduce((sum, part) => add(sum, part));
      const before = device.stats.dispatches;
      y.backward(make(6, rows, N));
      return device.stats.dispatches - before;
    });
    const values = await x.grad!.data();
    x.grad!.dispose();
    x.dispose();
    return { values, launches };
  };
  const plain = (x: Tensor) => linear(x, w1, null);
  const adapted = (x: Tensor) => loraLinear(x, w2, null, a, b, 0.5);
  const [first, second, both] = [
    await gradient(plain),
    await gradient(adapted),
    await gradient(plain, adapted),
  ];
  assertAllClose(both.values, first.values.map((v, i) => v + second.values[i]), { rtol: 1e-5, atol: 1e-6 });
  assertEquals(
    both.launches,
    first.launches + second.launches - 1,
    "x is scaled once, and nothing is added in a launch of its own",
  );
  for (const tensor of [w1, w2, a, b]) tensor.dispose();
});
