/**
 * Many square matrices [n, k, k] at once, one thread per element: a number added to the diagonal, and a step of
 * inversion.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec, type ParamType } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** y from x, both [n, k, k]; `size` counts the elements of all matrices. */
type SquareKernel<Own extends string> = KernelSpec<"x" | "y", "size" | "k" | Own, "WORKGROUP_SIZE">;

/** `body` sets y[i] for element i, with `params.k` and the kernel's own parameter. */
function squareKernel<Own extends string>(
  name: string,
  own: Own,
  type: ParamType,
  body: string,
): SquareKernel<Own> {
  const params = { size: "u32", k: "u32", [own]: type } as SquareKernel<Own>["params"];
  return defineKernel({
    name,
    buffers: {
      x: "read f32 // [size / (k k), k, k]",
      y: "read_write f32 // [size / (k k), k, k]",
    },
    params,
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
    program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.size) { return; }
${body}}
`,
  });
}

/** y = x, plus c where row and column are the same. */
export const addDiagonalKernel: SquareKernel<"c"> = squareKernel(
  "addDiagonal",
  "c",
  "f32",
  `  y[i] = x[i] + select(0.0, params.c, i % params.k == (i / params.k) % params.k);
`,
);

/**
 * One step of Gauss-Jordan elimination: y = x with column `step` eliminated; x and y differ. After steps 0 to k - 1, y
 * holds the inverses. Without pivoting, so for matrices whose leading minors are away from 0, such as I + Q with Q
 * skew-symmetric.
 */
export const invertStep: SquareKernel<"step"> = squareKernel(
  "invertStep",
  "step",
  "u32",
  `  let k = params.k;
  let step = params.step;
  let col = i % k;
  let row = (i / k) % k;
  let first = i - row * k - col; // of the matrix
  let pivot = 1.0 / x[first + step * k + step];
  if (row == step) {
    y[i] = select(x[i] * pivot, pivot, col == step);
  } else {
    let factor = x[first + row * k + step] * pivot;
    y[i] = select(x[i] - factor * x[first + step * k + col], -factor, col == step);
  }
`,
);
