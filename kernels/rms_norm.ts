/**
 * Root mean square normalisation over the last axis (Zhang and Sennrich 2019, arXiv:1910.07467), forward and backward.
 * Row kernels with the variants of rows.ts.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { rowKernel, rowText, type RowVariant, type WideRowFamily, wideRowFamily } from "./rows.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** y [rows, cols] and rstd [rows]; `offset` is added to the weight; with or without `residual` [rows, cols]. */
export type RMSNormKernel = KernelSpec<
  "x" | "weight" | "residual" | "y" | "rstd",
  "rows" | "cols" | "eps" | "offset",
  "WORKGROUP_SIZE"
>;
/** dx [rows, cols], with or without `addend` [rows, cols]. */
export type RMSNormBackwardInputKernel = KernelSpec<
  "x" | "weight" | "rstd" | "dy" | "dx" | "addend",
  "rows" | "cols" | "offset",
  "WORKGROUP_SIZE"
>;

function forwardKernel(variant: RowVariant, width: 1 | 4, adds: boolean): RMSNormKernel {
  const t = rowText(variant, width);
  return rowKernel(t, {
    name: `rmsNormForward${adds ? "Add" : ""}`,
    buffers: {
      x: `read ${t.cell} // [rows, cols]`,
      weight: `read ${t.cell} // [cols]`,
      y: `read_write ${t.cell} // [rows, cols]`,
      rstd: "read_write f32 // [rows]",
      residual: adds && `read ${t.cell} // [rows, cols]`,
    },
    params: { rows: "u32", cols: "u32", eps: "f32", offset: "f32" },
    body: /* wgsl */ `
  let cells = params.cols / ${t.width}u;
  let base = row * cells;
  var squares = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) { squares += x[base + i] * x[base + i]; }
  let inverse = 1.0 / sqrt(${t.sum(t.flat("squares"))} / f32(params.cols) + params.eps);
  for (var i = lane; i < cells; i += step) {
    y[base + i] = ${adds ? "residual[base + i] + " : ""}x[base + i] * inverse * (weight[i] + params.offset);
  }
  if (lane == 0u) { rstd[row] = inverse; }`,
  });
}

function backwardInputKernel(variant: RowVariant, width: 1 | 4, adds: boolean): RMSNormBackwardInputKernel {
  const t = rowText(variant, width);
  return rowKernel(t, {
    name: `rmsNormBackwardInput${adds ? "Add" : ""}`,
    buffers: {
      x: `read ${t.cell} // [rows, cols]`,
      weight: `read ${t.cell} // [cols]`,
      rstd: "read f32 // [rows]",
      dy: `read ${t.cell} // [rows, cols]`,
      dx: `read_write ${t.cell} // [rows, cols]`,
      addend: adds && `read ${t.cell} // [rows, cols]`,
    },
    params: { rows: "u32", cols: "u32", offset: "f32" },
    body: /* wgsl */ `
  let cells = params.cols / ${t.width}u;
  let base = row * cells;
  let inverse = rstd[row];
  var total = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) {
    total += dy[base + i] * (weight[i] + params.offset) * (x[base + i] * inverse);
  }
  let mean = ${t.sum(t.flat("total"))} / f32(params.cols);
  for (var i = lane; i < cells; i += step) {
    let g = dy[base + i] * (weight[i] + params.offset);
    dx[base + i] = inverse * (g - x[base + i] * inverse * mean)${adds ? " + addend[base + i]" : ""};
  }`,
  });
}

/** Forward, by variant and cell width. */
export const rmsNormForward: WideRowFamily<RMSNormKernel> = wideRowFamily((variant, width) =>
  forwardKernel(variant, width, false)
);
/** The same plus `residual`. */
export const rmsNormForwardAdd: WideRowFamily<RMSNormKernel> = wideRowFamily((variant, width) =>
  forwardKernel(variant, width, true)
);
/** Gradient of the input, by variant and cell width. */
export const rmsNormBackwardInput: WideRowFamily<RMSNormBackwardInputKernel> = wideRowFamily((
  variant,
  width,
) => backwardInputKernel(variant, width, false));
/** The same plus `addend`: the gradient that the residual stream brings. */
export const rmsNormBackwardInputAdd: WideRowFamily<RMSNormBackwardInputKernel> = wideRowFamily((
  variant,
  width,
) => backwardInputKernel(variant, width, true));

/** Partial sums of dweight over chunks of rows; a sum over the chunks follows. */
export const rmsNormBackwardWeight: KernelSpec<
  "x" | "rstd" | "dy" | "partial",
  "rows" | "cols" | "chunk",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "rmsNormBackwardWeight",
  buffers: {
    x: "read f32 // [rows, cols]",
    rstd: "read f32 // [rows]",
    dy: "read f32 // [rows, cols]",
    partial: "read_write f32 // [chunks, cols]",
  },
  params: { rows: "u32", cols: "u32", chunk: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: (
    { rows, cols, chunk },
    { WORKGROUP_SIZE },
  ) => [groupsFor(cols * groupsFor(rows, chunk), WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  let chunks = (params.rows + params.chunk - 1u) / params.chunk;
  if (i >= chunks * params.cols) { return; }
  let col = i % params.cols;
  let part = i / params.cols;
  var total = 0.0;
  for (var row = part * params.chunk; row < min((part + 1u) * params.chunk, params.rows); row++) {
    let at = row * params.cols + col;
    total += dy[at] * x[at] * rstd[row];
  }
  partial[i] = total;
}
`,
});
