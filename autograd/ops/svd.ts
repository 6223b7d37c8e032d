/**
 * Singular value decomposition on the device: x = U diag(s) V^T. No gradient flows through it.
 *   svd:        all min(m, n) singular values, by a QR decomposition and one-sided Jacobi rotations of R
 *   svdLowrank: the largest ones, by subspace iteration from random vectors, as `torch.svd_lowrank`
 * Vectors are determined up to a sign, and those of equal values up to a rotation.
 * @see Halko, Martinsson and Tropp 2011, "Finding structure with randomness", arXiv:0909.4061
 * @module
 */

import { svdLengths, svdRotate, svdSort } from "../../kernels/svd.ts";
import { showShape } from "../shape.ts";
import { tidy } from "../scope.ts";
import { noGrad } from "../tape.ts";
import { empty, full, Tensor } from "../tensor.ts";
import { drawNormal } from "./draw.ts";
import { matmul } from "./matmul.ts";
import { concat, slice, transpose } from "./movement.ts";
import { checkFloat } from "./_checks.ts";
import { columnVariant } from "./_rows.ts";
import { scale, subtract } from "./pointwise.ts";
import { qr } from "./qr.ts";

/** Most sweeps: matrices up to 768 columns converge within twelve; later ones cost one empty launch per round. */
const SWEEPS = 14;
/** Sweeps after `left` was made orthonormal again, down to the last bit: vectors of near values depend on it. */
const POLISHING_SWEEPS = 3;
/**
 * Half a unit in the last place. Before the polishing sweeps, columns may be LAPACK's sqrt(m) eps away from orthogonal
 * (`gesvj`).
 */
const EPSILON = 2 ** -24;

/** Factors of x = u diag(s) vT, s falling. */
export interface Svd {
  /** [m, k]; a column is 0 where its singular value is 0. */
  readonly u: Tensor;
  /** [k] */
  readonly s: Tensor;
  /** [k, n] */
  readonly vT: Tensor;
}

function checkMatrix(action: string, x: Tensor): [m: number, n: number] {
  checkFloat("decompose", x);
  const [m, n] = x.shape;
  if (x.shape.length !== 2 || !(m > 0 && n > 0)) {
    throw new TypeError(`Cannot ${action} ${showShape(x.shape)}: a matrix [m, n] is required`);
  }
  return [m, n];
}

/**
 * The reduced decomposition, k = min(m, n).
 * @param x [m, n], float32, finite; a hundred times m n k operations, which takes seconds for [768, 2304] on a CPU
 * @throws {TypeError} if x is not a float32 matrix
 */
export function svd(x: Tensor): Svd {
  const [m, n] = checkMatrix("decompose", x);
  return noGrad(() =>
    tidy(() => {
      if (m < n) {
        const { u, s, vT } = svd(transpose(x));
        return { u: transpose(vT), s, vT: transpose(u) };
      }
      const { q, r } = qr(x);
      const { left, s, right } = rotate(r, n);
      return { u: matmul(q, left, { transposeB: true }), s, vT: right };
    })
  );
}

/**
 * r = left^T diag(s) right, each [n, n] with orthonormal rows. The rows of r are rotated against each other until they
 * are orthogonal, and the rows of the left factor take part in every rotation. Thousands of rotations change their
 * lengths, so the factor is made orthonormal again (one step of Newton and Schulz), applied to r again, and the
 * remainder is rotated away.
 */
function rotate(r: Tensor, n: number): { left: Tensor; s: Tensor; right: Tensor } {
  const { device } = r;
  const ones = new Float32Array(n * n);
  for (let i = 0; i < n; i++) ones[i * n + i] = 1;
  let work = concat([r, Tensor.from(ones, { shape: [n, n], device })], 1); // [n, 2 n]
  sweepUntilStill(work, n, SWEEPS, Math.sqrt(n) * EPSILON);
  const worn = slice(work, 1, n); // [n, n]
  const gram = matmul(worn, worn, { transposeB: true });
  const left = subtract(scale(worn, 1.5), scale(matmul(gram, worn), 0.5));
  work = concat([matmul(left, r), left], 1);
  sweepUntilStill(work, n, POLISHING_SWEEPS, EPSILON);
  const lengths = empty(device, [n]);
  device.dispatch(svdLengths[columnVariant(device, n)], { work: work.view, s: lengths.view }, {
    rows: n,
    m: n,
  });
  const [right, s, turned] = [empty(device, [n, n]), empty(device, [n]), empty(device, [n, n])];
  const sorted = { work: work.view, s: lengths.view, u: right.view, sorted: s.view, v: turned.view };
  device.dispatch(svdSort, sorted, { n, m: n });
  return { left: turned, s, right };
}

/** Rotates the first halves of the rows of work [n, 2 n] against each other, every pair once per sweep. */
function sweepUntilStill(work: Tensor, n: number, sweeps: number, tolerance: number): void {
  if (n === 1) return;
  const { device } = work;
  const kernel = svdRotate[columnVariant(device, n)][n % 4 === 0 ? 4 : 1];
  const rows = Math.ceil(n / 2);
  const sizes = { rows, n, m: n, tolerance };
  let before = full(device, [1], 1);
  for (let sweep = 0; sweep < sweeps; sweep++) {
    const after = full(device, [1], 0);
    const buffers = { before: before.view, work: work.view, after: after.view };
    for (let round = 0; round < 2 * rows - 1; round++) {
      device.dispatch(kernel, buffers, { ...sizes, round }, {}, rows * 18 * n);
    }
    before = after;
  }
}

/**
 * About the `rank` largest singular values and their vectors: with more iterations, and where the values fall quickly,
 * closer to those of `svd`.
 * @param x [m, n]   @param rank from 1 to min(m, n)   @param options `iterations` as torch's niter, default 2; `seed`
 * of the random vectors, default 0
 * @throws {TypeError} if x is not a float32 matrix   @throws {RangeError} for a rank out of range
 */
export function svdLowrank(
  x: Tensor,
  rank: number,
  options: { iterations?: number; seed?: number } = {},
): Svd {
  const [m, n] = checkMatrix("decompose", x);
  const { iterations = 2, seed = 0 } = options;
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= Math.min(m, n))) {
    throw new RangeError(
      `Cannot decompose ${showShape(x.shape)}: a rank from 1 to ${
        Math.min(m, n)
      } is required, received ${rank}`,
    );
  }
  if (!(Number.isInteger(iterations) && iterations >= 0)) {
    throw new RangeError(
      `Cannot decompose: iterations must be an integer of at least 0, received ${iterations}`,
    );
  }
  return noGrad(() =>
    tidy(() => {
      let basis = qr(matmul(x, drawNormal(x.device, [n, rank], 1, seed, 0))).q; // [m, rank]
      for (let i = 0; i < iterations; i++) {
        const rows = qr(matmul(x, basis, { transposeA: true })).q; // [n, rank]
        basis = qr(matmul(x, rows)).q;
      }
      const { u, s, vT } = svd(matmul(basis, x, { transposeA: true })); // of [rank, n]
      return { u: matmul(basis, u), s, vT };
    })
  );
}
