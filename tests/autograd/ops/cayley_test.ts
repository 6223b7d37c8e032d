import { assertThrows } from "@std/assert";
import { cayley, defaultDevice, full } from "../../../autograd/mod.ts";
import { checkOp, type Reference } from "../../reference/check_op.ts";
import { randomValues } from "../../reference/matmul.ts";

type Matrix = Float64Array;

function product(a: Matrix, b: Matrix, k: number): Matrix {
  return Float64Array.from({ length: k * k }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < k; j++) sum += a[Math.floor(i / k) * k + j] * b[j * k + i % k];
    return sum;
  });
}

function transposed(a: Matrix, k: number): Matrix {
  return a.map((_, i) => a[(i % k) * k + Math.floor(i / k)]);
}

/** Gauss-Jordan elimination with pivoting, in float64. */
function inverse(a: Matrix, k: number): Matrix {
  const rows = Array.from({ length: k }, (_, i) => {
    const unit = Array.from({ length: k }, (_, j) => i === j ? 1 : 0);
    return [...a.subarray(i * k, (i + 1) * k), ...unit];
  });
  for (let c = 0; c < k; c++) {
    let best = c;
    for (let r = c; r < k; r++) if (Math.abs(rows[r][c]) > Math.abs(rows[best][c])) best = r;
    [rows[c], rows[best]] = [rows[best], rows[c]];
    rows[c] = rows[c].map((v) => v / rows[c][c]);
    for (let r = 0; r < k; r++) {
      const factor = rows[r][c];
      if (r !== c) rows[r] = rows[r].map((v, j) => v - factor * rows[c][j]);
    }
  }
  return Float64Array.from(rows.flatMap((row) => row.slice(k)));
}

/** R = (I - Q) (I + Q)^-1, whose differential is -(I + R) dQ (I + Q)^-1. */
function reference(Q: ArrayLike<number>, n: number, k: number): Reference {
  const eye = Float64Array.from({ length: k * k }, (_, i) => i % (k + 1) === 0 ? 1 : 0);
  const blocks = Array.from({ length: n }, (_, b) => {
    const q = Float64Array.from({ length: k * k }, (_, i) => Q[b * k * k + i]);
    const inv = inverse(q.map((v, i) => v + eye[i]), k);
    return { inv, R: product(q.map((v, i) => eye[i] - v), inv, k) };
  });
  return {
    y: Float64Array.from(blocks.flatMap(({ R }) => [...R])),
    gradients(dy) {
      const dQ = blocks.flatMap(({ inv, R }, b) => {
        const dR = Float64Array.from({ length: k * k }, (_, i) => dy[b * k * k + i]);
        const right = transposed(inv, k);

        const direct = product(dR, right, k);
        const through = product(transposed(R, k), direct, k);
        return [...direct.map((v, i) => -v - through[i])];
      });
      return { Q: Float64Array.from(dQ) };
    },
  };
}

Deno.test("cayley() agrees with the float64 reference", async () => {
  for (const [n, k] of [[1, 1], [3, 2], [2, 5], [1, 8], [5, 32], [1, 70]]) {
    const random = randomValues(40 + k, n * k * k);
    const data = random.map((_, i) => {
      const [block, row, col] = [Math.floor(i / (k * k)) * k * k, Math.floor(i / k) % k, i % k];
      return (random[block + row * k + col] - random[block + col * k + row]) / Math.sqrt(k);
    });
    await checkOp({
      label: `cayley ${n} x ${k}`,
      inputs: { Q: { data, shape: [n, k, k] } },
      op: ({ Q }) => cayley(Q),
      shape: [n, k, k],
      reference: ({ Q }) => reference(Q, n, k),
      gate: { rtol: 1e-5, atol: 1e-5 }, // sums of k terms, eliminated k times
      gradientGate: { rtol: 1e-4, atol: 5e-5 },
    });
  }
});

Deno.test("cayley() refuses what is not square", async () => {
  using Q = full(await defaultDevice(), [2, 3, 4], 0);
  assertThrows(
    () => cayley(Q),
    TypeError,
    "Cannot take the Cayley transform of [2, 3, 4]: square matrices [n, k, k] are required",
  );
});
