import { assertAllClose, assertEquals, assertThrows } from "@std/assert";
import { defaultDevice, matmul, Tensor, tidy } from "../../../autograd/mod.ts";
import { Device } from "../../../gpu/mod.ts";
import { matmulReference, randomValues } from "../../reference/matmul.ts";

interface Case {
  a: number[];
  b: number[];
  transposeA?: boolean;
  transposeB?: boolean;
}

const sizeOf = (shape: number[]) => shape.reduce((x, y) => x * y, 1);

/** y, da and db for the gradient dy in float64, batch by batch. */
function reference(a: Float32Array, b: Float32Array, dy: ArrayLike<number>, test: Case) {
  const { transposeA = false, transposeB = false } = test;
  const pad = (shape: number[]) => [...Array(4 - shape.length).fill(1), ...shape];
  const [as, bs] = [pad(test.a), pad(test.b)];
  const [M, K] = transposeA ? [as[3], as[2]] : [as[2], as[3]];
  const N = transposeB ? bs[2] : bs[3];
  const outer = Math.max(as[0], bs[0]);
  const inner = Math.max(as[1], bs[1]);
  const y = new Float64Array(outer * inner * M * N);
  const magnitude = new Float64Array(y.length);
  const da = new Float64Array(a.length);
  const db = new Float64Array(b.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const aAt = ((as[0] === 1 ? 0 : o) * as[1] + (as[1] === 1 ? 0 : i)) * M * K;
      const bAt = ((bs[0] === 1 ? 0 : o) * bs[1] + (bs[1] === 1 ? 0 : i)) * K * N;
      const yAt = (o * inner + i) * M * N;
      const one = matmulReference(a.subarray(aAt, aAt + M * K), b.subarray(bAt, bAt + K * N), {
        M,
        N,
        K,
        transposeA,
        transposeB,
      });
      y.set(one.y, yAt);
      magnitude.set(one.magnitude, yAt);
      for (let m = 0; m < M; m++) {
        for (let n = 0; n < N; n++) {
          const d = dy[yAt + m * N + n];
          for (let k = 0; k < K; k++) {
            const ai = aAt + (transposeA ? k * M + m : m * K + k);
            const bi = bAt + (transposeB ? n * K + k : k * N + n);
            da[ai] += d * b[bi];
            db[bi] += d * a[ai];
          }
        }
      }
    }
  }
  return { y, magnitude, da, db, K };
}

async function check(test: Case): Promise<void> {
  const device = await defaultDevice();
  const a = randomValues(1, sizeOf(test.a));
  const b = randomValues(2, sizeOf(test.b));
  using ta = Tensor.from(a, { device, shape: test.a, requiresGrad: true });
  using tb = Tensor.from(b, { device, shape: test.b, requiresGrad: true });
  using y = matmul(ta, tb, test);
  const dy = randomValues(3, y.size);
  using seed = Tensor.from(dy, { device, shape: y.shape });
  const actual = await y.data();
  y.backward(seed);
  const expected = reference(a, b, dy, test);
  const label = JSON.stringify(test);
  // Rounding errors of K terms, componentwise.
  const excess = Float64Array.from(actual, (value, i) => {
    const limit = 4 * Math.sqrt(expected.K) * 2 ** -24 * expected.magnitude[i];
    return Math.max(0, Math.abs(value - expected.y[i]) - limit);
  });
  assertAllClose(excess, new Float64Array(excess.length), { rtol: 0, atol: 0, label: `${label} y` });
  assertAllClose(await ta.grad!.data(), expected.da, { rtol: 1e-4, atol: 4e-6, label: `${label} da` });
  assertAllClose(await tb.grad!.data(), expected.db, { rtol: 1e-4, atol: 4e-6, label: `${label} db` });
}

Deno.test("matmul() and its gradients agree with the float64 reference in every layout and at odd sizes", async () => {
  for (const [M, N, K] of [[1, 1, 1], [2, 3, 1], [17, 31, 13], [16, 64, 32], [65, 7, 129], [33, 127, 63]]) {
    await check({ a: [M, K], b: [K, N] });
    await check({ a: [M, K], b: [N, K], transposeB: true });
    await check({ a: [K, M], b: [K, N], transposeA: true });
    await check({ a: [K, M], b: [N, K], transposeA: true, transposeB: true });
  }
});

Deno.test("matmul() broadcasts batches and sums the gradient of what it stretched", async () => {
  await check({ a: [3, 8, 12], b: [3, 12, 4] });
  await check({ a: [3, 5, 7], b: [7, 9] });
  await check({ a: [5, 7], b: [3, 7, 9] });
  await check({ a: [2, 3, 5, 7], b: [2, 3, 7, 4] });
  await check({ a: [2, 1, 5, 8], b: [1, 3, 8, 12] });
  await check({ a: [1, 3, 5, 8], b: [2, 1, 12, 8], transposeB: true });
  await check({ a: [2, 3, 8, 4], b: [3, 8, 12], transposeA: true });
  await check({ a: [2, 3, 8, 5], b: [6, 5], transposeB: true });
});

Deno.test("matmul() of an empty inner dimension gives zeros and an empty product is empty", async () => {
  const device = await defaultDevice();
  using a = Tensor.from(new Float32Array(0), { device, shape: [3, 0] });
  using b = Tensor.from(new Float32Array(0), { device, shape: [0, 4] });
  using y = matmul(a, b);
  assertEquals([...await y.data()], Array(12).fill(0));
  using empty = matmul(b, Tensor.from([[1], [2], [3], [4]], { device }));
  assertEquals(empty.shape, [0, 1]);
});

Deno.test("matmul() fails with both shapes when they do not fit", async () => {
  const device = await defaultDevice();
  tidy(() => {
    const zeros = (...shape: number[]) => Tensor.from(new Float32Array(sizeOf(shape)), { device, shape });
    assertThrows(
      () => matmul(zeros(4, 768), zeros(512, 64)),
      TypeError,
      "Cannot multiply a [4, 768] by b [512, 64]: inner sizes must be equal, received 768 and 512",
    );
    assertThrows(() => matmul(zeros(4), zeros(4, 2)), TypeError, "ranks 2 to 4 are required");
    assertThrows(
      () => matmul(zeros(2, 4, 3), zeros(3, 3, 2)),
      TypeError,
      "Cannot multiply batches of [2] and [3]: sizes must be equal or 1",
    );
    const ids = Tensor.from(new Int32Array(4), { device, shape: [2, 2] });
    assertThrows(() => matmul(ids, zeros(2, 2)), TypeError, "float32 is required");
  });
});

/** Every batch of a [.., M, K] b [.., K, N] with small whole numbers, whose sums float32 holds exactly. */
async function checkExactly(test: Case, names: readonly ("y" | "da" | "db")[]): Promise<void> {
  const device = await defaultDevice();
  const whole = (seed: number, count: number) => randomValues(seed, count).map((v) => Math.round(2 * v));
  const a = whole(1, sizeOf(test.a));
  const b = whole(2, sizeOf(test.b));
  using ta = Tensor.from(a, { device, shape: test.a, requiresGrad: true });
  using tb = Tensor.from(b, { device, shape: test.b, requiresGrad: true });
  using y = matmul(ta, tb, test);
  const dy = whole(3, y.size);
  using seed = Tensor.from(dy, { device, shape: y.shape });
  y.backward(seed);
  const actual = { y: await y.data(), da: await ta.grad!.data(), db: await tb.grad!.data() };
  const expected = reference(a, b, dy, test);
  for (const name of names) {
    const wrong = actual[name].findIndex((value, i) => value !== expected[name][i]);
    assertEquals(wrong, -1, `${JSON.stringify(test)}: ${name} differs at ${wrong}`);
  }
}

Deno.test("matmul() of batches is exact where K or M takes several launches, in every layout", async () => {
  const [K, M] = [65536 + 68, 262080 + 68];
  await checkExactly({ a: [2, 2, K], b: [2, K, 4] }, ["y", "da", "db"]);
  await checkExactly({ a: [3, 2, K], b: [3, 4, K], transposeB: true }, ["y", "da", "db"]);
  await checkExactly({ a: [2, 1, K, 2], b: [1, 2, K, 3], transposeA: true }, ["y", "da", "db"]);
  await checkExactly({ a: [2, M, 2], b: [2, 2, 4] }, ["y", "da", "db"]);
  await checkExactly({ a: [2, 1, M], b: [2, 1, 3], transposeA: true }, ["y", "da", "db"]);
});

Deno.test("matmul() multiplies more batches than a grid's third dimension holds", async () => {
  await checkExactly({ a: [65537, 1, 2], b: [65537, 2, 1] }, ["y", "da", "db"]);
  await checkExactly({ a: [3, 32768, 1, 2], b: [3, 1, 2, 1] }, ["y", "da", "db"]);
});

Deno.test("matmul() multiplies batches of over the binding limit one by one, or says what they need", async () => {
  const whole = await defaultDevice();
  const device = await Device.create({
    device: whole.gpuDevice,
    limits: { maxStorageBufferBindingSize: 1 << 16 },
  });
  const a = randomValues(1, 3 * 64 * 128);
  const b = randomValues(2, 3 * 128 * 16);
  using ta = Tensor.from(a, { device, shape: [3, 64, 128] });
  using tb = Tensor.from(b, { device, shape: [3, 128, 16] });
  using y = matmul(ta, tb);
  const test = { a: [3, 64, 128], b: [3, 128, 16] };
  const expected = reference(a, b, new Float32Array(y.size), test).y;
  assertAllClose(await y.data(), expected, { rtol: 1e-5, atol: 1e-5 });
  using odd = Tensor.from(randomValues(3, 3 * 63 * 127), { device, shape: [3, 63, 127] });
  using other = Tensor.from(randomValues(3, 127 * 3), { device, shape: [3, 127, 1] });
  assertThrows(
    () => matmul(odd, other),
    RangeError,
    "Cannot multiply batches of over 65536 bytes: matrices at multiples of 64 elements are required",
  );
});
