/**
 * The Cayley transform of skew-symmetric matrices, which gives rotations:
 *   R = (I - Q) (I + Q)^-1 = 2 M - I   with M = (I + Q)^-1
 * Gradient: dQ = -2 M^T dR M^T. M comes from Gauss-Jordan elimination without pivoting: the leading minors of I + Q are
 * at least 1.
 * @module
 */

import { invertStep } from "../../kernels/square_matrices.ts";
import { showShape } from "../shape.ts";
import { tidy } from "../scope.ts";
import { record } from "../record.ts";
import { noGrad } from "../tape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { addDiagonal } from "./diagonal.ts";
import { matmul } from "./matmul.ts";
import { checkFloat } from "./_checks.ts";
import { scale } from "./pointwise.ts";

/** (I + Q)^-1, [n, k, k]. */
function inverse(Q: Tensor): Tensor {
  const k = Q.shape[2];
  let [x, y] = [addDiagonal(Q, 1), empty(Q.device, Q.shape)];
  for (let step = 0; step < k; step++) {
    Q.device.dispatch(invertStep, { x: x.view, y: y.view }, { size: Q.size, k, step });
    [x, y] = [y, x];
  }
  y.dispose();
  return x;
}

/**
 * R [n, k, k] of skew-symmetric Q [n, k, k].
 * @throws {TypeError} unless Q is float32 and [n, k, k]
 */
export function cayley(Q: Tensor): Tensor {
  checkFloat("take the Cayley transform of", Q);
  if (Q.shape.length !== 3 || Q.shape[1] !== Q.shape[2]) {
    throw new TypeError(
      `Cannot take the Cayley transform of ${showShape(Q.shape)}: square matrices [n, k, k] are required`,
    );
  }
  const [M, R] = noGrad(() =>
    tidy(() => {
      const M = inverse(Q);
      return [M, addDiagonal(scale(M, 2), -1)];
    })
  );
  record("cayley", {
    inputs: { Q },
    saved: { M },
    outputs: [R],
    backward: ({ dy: dR, saved: { M } }) => {
      const left = matmul(M, dR, { transposeA: true });
      return { Q: scale(matmul(left, M, { transposeB: true }), -2) };
    },
  });
  M.dispose(); // the tape holds its own handle
  return R;
}
