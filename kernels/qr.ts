/**
 * QR decomposition by Householder reflections H = I - 2 v v^T / |v|^2, with the signs of LAPACK's `geqrf` and `orgqr`.
 * Columns are kept as rows. `panel` holds R above the diagonal and below it the tails of the vectors v; `pivots` holds
 * the diagonal of R; the head of v is what stays on the diagonal minus the pivot.
 *
 * Variants as in rows.ts: one thread per column without barriers, or one workgroup per column.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { type RowFamily, rowFamily, rowKernel, rowText, type RowVariant } from "./rows.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** WGSL of y -= 2 (v . y) / |v|^2 v for the column of `target` that starts at `base`; needs `head` and `pivot`. */
function reflection(variant: RowVariant, target: "panel" | "q", pivot: string): string {
  const t = rowText(variant, 1);
  return `
  let own = params.column * params.m;
  let alpha = panel[own + params.column];
  let y = ${target}[base + params.column]; // read before a lane writes it
  var squares = 0.0;
  var products = 0.0;
  for (var i = params.column + 1u + lane; i < params.m; i += step) {
    let v = panel[own + i];
    squares += v * v;
    products += v * ${target}[base + i];
  }
  let tail = ${t.sum("squares")};
  let meet = ${t.sum("products")};
  ${pivot}
  if (tail == 0.0) { return; } // nothing below the diagonal: no reflection
  let head = alpha - pivot;
  let factor = 2.0 * (meet + head * y) / (tail + head * head);
  for (var i = params.column + 1u + lane; i < params.m; i += step) {
    ${target}[base + i] -= factor * panel[own + i];
  }
  if (lane == 0u) { ${target}[base + params.column] = y - factor * head; }`;
}

/** Finds the pivot of column `column` of panel [n, m] and reflects the columns after it; rows: n - column. */
export type QrReduceKernel = KernelSpec<"panel" | "pivots", "rows" | "m" | "column", "WORKGROUP_SIZE">;

function reduceKernel(variant: RowVariant): QrReduceKernel {
  const t = rowText(variant, 1);
  return rowKernel(t, {
    name: "qrReduce",
    buffers: {
      panel: "read_write f32 // [n, m]",
      pivots: "read_write f32 // [n]",
    },
    params: { rows: "u32", m: "u32", column: "u32" },
    body: /* wgsl */ `
  let base = (params.column + row) * params.m;
  ${
      reflection(
        variant,
        "panel",
        `let length = sqrt(alpha * alpha + tail);
  let pivot = select(select(length, -length, alpha >= 0.0), alpha, tail == 0.0);
  if (row == 0u) { // the column itself stays as it is, for the others read it
    if (lane == 0u) { pivots[params.column] = pivot; }
    return;
  }`,
      )
    }`,
  });
}

/** Reflects columns `column`.. of q [n, m] by the vector of that column; called from the last column to the first. */
export type QrFormKernel = KernelSpec<"panel" | "pivots" | "q", "rows" | "m" | "column", "WORKGROUP_SIZE">;

function formKernel(variant: RowVariant): QrFormKernel {
  const t = rowText(variant, 1);
  return rowKernel(t, {
    name: "qrForm",
    buffers: {
      panel: "read f32 // [n, m]",
      pivots: "read f32 // [n]",
      q: "read_write f32 // [n, m], at first the identity",
    },
    params: { rows: "u32", m: "u32", column: "u32" },
    body: /* wgsl */ `
  let base = (params.column + row) * params.m;
  ${reflection(variant, "q", "let pivot = pivots[params.column];")}`,
  });
}

/** One step of the decomposition, by variant. */
export const qrReduce: RowFamily<QrReduceKernel> = rowFamily(reduceKernel);

/** One step of forming Q, by variant. */
export const qrForm: RowFamily<QrFormKernel> = rowFamily(formKernel);

/** R [n, n] from panel and pivots, and the first n columns of the identity as rows of q [n, m]. */
export const qrUnpack: KernelSpec<"panel" | "pivots" | "r" | "q", "n" | "m", "WORKGROUP_SIZE"> = defineKernel(
  {
    name: "qrUnpack",
    buffers: {
      panel: "read f32 // [n, m]",
      pivots: "read f32 // [n]",
      r: "read_write f32 // [n, n]",
      q: "read_write f32 // [n, m]",
    },
    params: { n: "u32", m: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ n, m }, { WORKGROUP_SIZE }) => [groupsFor(n * m, WORKGROUP_SIZE)],
    program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.n * params.m) { return; }
  let column = i / params.m;
  let row = i % params.m;
  q[i] = select(0.0, 1.0, row == column);
  if (row >= params.n) { return; }
  let above = select(0.0, panel[i], row < column);
  r[row * params.n + column] = select(above, pivots[column], row == column);
}
`,
  },
);
