/**
 * Few numbers in ascending order, as part of the gradient graph: each result takes its gradient to where it came from.
 * @module
 */

import {
  add,
  isPositive,
  multiply,
  noGrad,
  reshape,
  subtract,
  sum,
  Tensor,
  tidy,
} from "../../autograd/mod.ts";

/** float32 [n, n] on the device of another. */
function matrix(n: number, of: (i: number, j: number) => number, { device }: Tensor): Tensor {
  const values = Float32Array.from({ length: n * n }, (_, at) => of(Math.floor(at / n), at % n));
  return Tensor.from(values, { device, shape: [n, n] });
}

/**
 * The values of a vector from the smallest to the largest, equal ones in their order.
 * @param x float32 [n]; takes n^2 numbers of memory
 */
export function sorted(x: Tensor): Tensor {
  const [n] = x.shape;
  if (n === 1) return x;
  const places = tidy(() =>
    noGrad(() => {
      const [rows, cols] = [reshape(x, [n, 1]), reshape(x, [1, n])];
      const [above, below] = [isPositive(subtract(rows, cols)), isPositive(subtract(cols, rows))];
      const equal = subtract(1, add(above, below));
      // how many are smaller, or equal and before
      const rank = sum(add(above, multiply(equal, matrix(n, (i, j) => j < i ? 1 : 0, x))), { axis: 1 });
      const from = subtract(matrix(n, (i) => i, x), reshape(rank, [1, n]));
      return subtract(1, isPositive(multiply(from, from))); // [place, number]: 1 where they belong together
    })
  );
  return sum(multiply(places, reshape(x, [1, n])), { axis: 1 });
}
