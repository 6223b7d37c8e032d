import { assert, assertAllClose, assertEquals, assertThrows } from "@std/assert";
import {
  defaultDevice,
  type Device,
  matmul,
  multiply,
  qr,
  reshape,
  type Svd,
  svd,
  svdLowrank,
  Tensor,
} from "../../../autograd/mod.ts";
import { hardwareVariants } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";
import { singularValues, upperTriangle } from "../../reference/svd.ts";

type Matrix = { label: string; shape: [number, number]; data: Float32Array<ArrayBuffer> };

const uniform = (m: number, n: number, seed = 3): Matrix => ({
  label: `uniform [${m}, ${n}]`,
  shape: [m, n],
  data: randomValues(seed, m * n),
});

/** A product of thin matrices: rank `rank`. */
function lowRank(m: number, n: number, rank: number): Matrix {
  const [a, b] = [randomValues(5, m * rank), randomValues(6, rank * n)];
  const data = Float32Array.from({ length: m * n }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += a[Math.floor(i / n) * rank + k] * b[k * n + i % n];
    return sum;
  });
  return { label: `rank ${rank} [${m}, ${n}]`, shape: [m, n], data };
}

const MATRICES: Matrix[] = [
  uniform(1, 1),
  uniform(1, 7),
  uniform(7, 1),
  uniform(2, 2),
  uniform(3, 3),
  uniform(5, 4),
  uniform(4, 9),
  uniform(33, 17),
  uniform(48, 48),
  uniform(48, 144),
  uniform(97, 33),
  lowRank(24, 20, 3),
  { label: "zero", shape: [6, 4], data: new Float32Array(24) },
  {
    label: "identity",
    shape: [8, 8],
    data: Float32Array.from({ length: 64 }, (_, i) => i % 9 === 0 ? 1 : 0),
  },
  {
    label: "graded over six decades",
    shape: [16, 12],
    data: randomValues(8, 192).map((v, i) => v * 10 ** (-(i % 12) / 2)),
  },
  { label: "a column of zeros", shape: [6, 5], data: randomValues(9, 30).map((v, i) => i % 5 === 2 ? 0 : v) },
];

const toTensor = ({ data, shape }: Matrix, device?: Device) => Tensor.from(data, { shape, device });

/** Largest |a^T a - 1| over the rows or columns `keep` names. */
async function fromOrthonormal(gram: Tensor, keep: number): Promise<number> {
  const values = await gram.data();
  const k = gram.shape[0];
  let worst = 0;
  for (let i = 0; i < keep; i++) {
    for (let j = 0; j < keep; j++) worst = Math.max(worst, Math.abs(values[i * k + j] - (i === j ? 1 : 0)));
  }
  return worst;
}

/** u diag(s) vT. */
const product = ({ u, s, vT }: Svd) => matmul(multiply(u, reshape(s, [1, s.size])), vT);

async function checkSvd(matrix: Matrix, device: Device): Promise<void> {
  const { label, shape: [m, n], data } = matrix;
  const k = Math.min(m, n);
  const parts = svd(toTensor(matrix, device));
  assertEquals([parts.u.shape, parts.s.shape, parts.vT.shape], [[m, k], [k], [k, n]], label);
  const expected = singularValues(data, m, n);
  // LAPACK promises a small multiple of the largest value's rounding error; 8 eps sqrt(k) is what float32 needs here.
  const atol = 8 * 2 ** -24 * Math.sqrt(k) * Math.max(expected[0], 1e-30);
  const s = await parts.s.data();
  assertAllClose(s, expected, { rtol: 0, atol, label: `${label}: s` });
  assertAllClose(await product(parts).data(), data, { rtol: 0, atol, label: `${label}: u s vT` });
  const rank = expected.filter((value) => value > 1e-5 * expected[0]).length;
  const spread = 2e-6;
  const left = await fromOrthonormal(matmul(parts.u, parts.u, { transposeA: true }), rank);
  const right = await fromOrthonormal(matmul(parts.vT, parts.vT, { transposeB: true }), rank);
  assert(left < spread && right < spread, `${label}: u^T u - 1 ${left}, vT v - 1 ${right}`);
}

Deno.test("svd() agrees with the float64 reference, its factors are orthonormal and give x back", async () => {
  const device = await defaultDevice();
  for (const matrix of MATRICES) await checkSvd(matrix, device);
});

Deno.test("svd() agrees with the reference in the variants for hardware", async () => {
  const device = await hardwareVariants();
  for (const matrix of [uniform(5, 4), uniform(48, 48), uniform(33, 17)]) await checkSvd(matrix, device);
});

Deno.test("svd() leaves nothing but its result, takes no gradient, and gives NaN for NaN", async () => {
  const device = await defaultDevice();
  const before = device.memory.liveBytes;
  const x = Tensor.from(randomValues(3, 20), { shape: [5, 4], requiresGrad: true });
  const { u, s, vT } = svd(x);
  assert(!u.requiresGrad && !s.requiresGrad && !vT.requiresGrad);
  for (const tensor of [x, u, s, vT]) tensor.dispose();
  assertEquals(device.memory.liveBytes, before);
  const bad = svd(Tensor.from([[1, 2], [NaN, 4]]));
  assert((await bad.s.data()).every((value) => Number.isNaN(value)));
});

Deno.test("svdLowrank() finds the whole of a matrix of low rank, and the head of one whose values fall", async () => {
  const low = lowRank(40, 30, 3);
  const whole = svdLowrank(toTensor(low), 3);
  assertEquals([whole.u.shape, whole.s.shape, whole.vT.shape], [[40, 3], [3], [3, 30]]);
  assertAllClose(await product(whole).data(), low.data, { rtol: 0, atol: 1e-5 });
  const graded: Matrix = {
    label: "",
    shape: [40, 30],
    data: randomValues(8, 1200).map((v, i) => v * 10 ** (-(i % 30) / 5)),
  };
  const expected = singularValues(graded.data, 40, 30).slice(0, 4);
  const head = svdLowrank(toTensor(graded), 4, { iterations: 8, seed: 5 });
  assertAllClose(await head.s.data(), expected, { rtol: 1e-5, atol: 0 });
  const rough = svdLowrank(toTensor(graded), 4, { iterations: 0 });
  const [first] = await rough.s.data();
  assert(first < expected[0] * (1 - 1e-6) && first > expected[0] * 0.5, `${first} of ${expected[0]}`);
});

Deno.test("qr() agrees with the float64 reference in LAPACK's signs, with orthonormal columns", async () => {
  for (const device of [await defaultDevice(), await hardwareVariants()]) {
    for (const matrix of MATRICES.filter(({ shape: [m, n] }) => m >= n)) {
      const { label, shape: [m, n], data } = matrix;
      const { q, r } = qr(toTensor(matrix, device));
      assertEquals([q.shape, r.shape], [[m, n], [n, n]], label);
      assertAllClose(await matmul(q, r).data(), data, { rtol: 0, atol: 2e-6, label: `${label}: q r` });
      const off = await fromOrthonormal(matmul(q, q, { transposeA: true }), n);
      assert(off < 2e-6, `${label}: q^T q - 1 is ${off}`);
      if (/rank|uniform \[48, 48\]/.test(label)) continue; // rounding decides the signs of what is left of a column
      assertAllClose(await r.data(), upperTriangle(data, m, n), {
        rtol: 0,
        atol: 4e-6,
        label: `${label}: r`,
      });
    }
  }
});

Deno.test("svd(), svdLowrank() and qr() refuse what is no matrix, a wide one for qr, and ranks out of range", () => {
  const wide = Tensor.from(randomValues(1, 6), { shape: [2, 3] });
  assertThrows(
    () => svd(Tensor.from([1, 2])),
    TypeError,
    "Cannot decompose [2]: a matrix [m, n] is required",
  );
  assertThrows(() => svd(Tensor.from([[1]], { dtype: "int32" })), TypeError, "float32 is required");
  assertThrows(
    () => qr(wide),
    TypeError,
    "Cannot decompose [2, 3] into QR: a matrix [m, n] with m >= n >= 1",
  );
  assertThrows(() => svdLowrank(wide, 3), RangeError, "a rank from 1 to 2 is required, received 3");
  assertThrows(() => svdLowrank(wide, 0), RangeError, "a rank from 1 to 2 is required, received 0");
  assertThrows(
    () => svdLowrank(wide, 1, { iterations: -1 }),
    RangeError,
    "iterations must be an integer of at least 0, received -1",
  );
});

Deno.test("svd() of one matrix after another keeps the memory of the process", async () => {
  // llvmpipe (Mesa 22.3) took 64 KB for each workgroup of a rotation, and never freed it: 115 MB for such a matrix
  const resident = () => 1024 * Number(/VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))![1]);
  const decompose = async () => {
    using x = Tensor.from(randomValues(5, 96 * 48), { shape: [96, 48] });
    const { u, s, vT } = svd(x);
    await s.data();
    for (const tensor of [u, s, vT]) tensor.dispose();
  };
  await decompose(); // compiles
  const before = resident();
  for (let i = 0; i < 3; i++) await decompose();
  const grown = resident() - before;
  assert(grown < 120e6, `${(grown / 1e6).toFixed(0)} MB more`);
});
