/**
 * QR decomposition by Householder reflections on the device: x = Q R, Q with orthonormal columns, R upper triangular.
 * Signs are LAPACK's, and so PyTorch's. Two launches per column. No gradient flows through it.
 * @see Golub and Van Loan, "Matrix Computations", 5.2
 * @module
 */

import { qrForm, qrReduce, qrUnpack } from "../../kernels/qr.ts";
import { showShape } from "../shape.ts";
import { noGrad } from "../tape.ts";
import { tidy } from "../scope.ts";
import { empty, type Tensor } from "../tensor.ts";
import { transpose } from "./movement.ts";
import { checkFloat } from "./_checks.ts";
import { columnVariant } from "./_rows.ts";

/**
 * The reduced decomposition of a matrix with at least as many rows as columns.
 * @param x [m, n], m >= n   @returns q [m, n] and r [n, n]
 * @throws {TypeError} if x is not such a float32 matrix
 */
export function qr(x: Tensor): { q: Tensor; r: Tensor } {
  checkFloat("decompose", x);
  const [m, n] = x.shape;
  if (x.shape.length !== 2 || !(n > 0 && m >= n)) {
    throw new TypeError(
      `Cannot decompose ${showShape(x.shape)} into QR: a matrix [m, n] with m >= n >= 1 is required`,
    );
  }
  const { device } = x;
  const variant = columnVariant(device, m);
  return noGrad(() =>
    tidy(() => {
      const panel = transpose(x); // [n, m]
      const [pivots, r, q] = [empty(device, [n]), empty(device, [n, n]), empty(device, [n, m])];
      const step = (column: number) => ({ rows: n - column, m, column });
      const work = (column: number) => 6 * (n - column) * (m - column);
      for (let column = 0; column < n; column++) {
        const buffers = { panel: panel.view, pivots: pivots.view };
        device.dispatch(qrReduce[variant], buffers, step(column), {}, work(column));
      }
      const parts = { panel: panel.view, pivots: pivots.view, q: q.view };
      device.dispatch(qrUnpack, { ...parts, r: r.view }, { n, m });
      for (let column = n - 1; column >= 0; column--) {
        device.dispatch(qrForm[variant], parts, step(column), {}, work(column));
      }
      return { q: transpose(q), r };
    })
  );
}
