/**
 * Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450), forward and backward.
 *
 * Row kernels with the variants of rows.ts. The variance takes a second pass over the row: E[x^2] - E[x]^2 cancels when
 * the mean is large.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { rowKernel, rowText, type RowVariant, type WideRowFamily, wideRowFamily } from "./rows.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** y [rows, cols], mean and rstd [rows]. */
export type LayerNormKernel = KernelSpec<
  "x" | "weight" | "bias" | "y" | "stats",
  "rows" | "cols" | "eps",
  "WORKGROUP_SIZE"
>;
/** dx [rows, cols], with or without `addend` [rows, cols]. */
export type LayerNormBackwardInputKernel = KernelSpec<
  "x" | "weight" | "stats" | "dy" | "dx" | "addend",
  "rows" | "cols",
  "WORKGROUP_SIZE"
>;

function forwardKernel(variant: RowVariant, width: 1 | 4): LayerNormKernel {
  const t = rowText(variant, width);
  return rowKernel(t, {
    name: "layerNormForward",
    buffers: {
      x: `read ${t.cell} // [rows, cols]`,
      weight: `read ${t.cell} // [cols]`,
      bias: `read ${t.cell} // [cols]`,
      y: `read_write ${t.cell} // [rows, cols]`,
      stats: "read_write f32 // [rows, 2]: mean, rstd",
    },
    params: { rows: "u32", cols: "u32", eps: "f32" },
    body: /* wgsl */ `
  let cells = params.cols / ${t.width}u;
  let base = row * cells;
  var total = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) { total += x[base + i]; }
  let mean = ${t.sum(t.flat("total"))} / f32(params.cols);
  var squares = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) {
    let d = x[base + i] - mean;
    squares += d * d;
  }
  let rstd = 1.0 / sqrt(${t.sum(t.flat("squares"))} / f32(params.cols) + params.eps);
  for (var i = lane; i < cells; i += step) {
    y[base + i] = (x[base + i] - mean) * rstd * weight[i] + bias[i];
  }
  if (lane == 0u) {
    stats[row * 2u] = mean;
    stats[row * 2u + 1u] = rstd;
  }`,
  });
}

function backwardInputKernel(variant: RowVariant, width: 1 | 4, adds: boolean): LayerNormBackwardInputKernel {
  const t = rowText(variant, width);
  return rowKernel(t, {
    name: `layerNormBackwardInput${adds ? "Add" : ""}`,
    buffers: {
      x: `read ${t.cell} // [rows, cols]`,
      weight: `read ${t.cell} // [cols]`,
      stats: "read f32 // [rows, 2]: mean, rstd",
      dy: `read ${t.cell} // [rows, cols]`,
      dx: `read_write ${t.cell} // [rows, cols]`,
      addend: adds && `read ${t.cell} // [rows, cols]`,
    },
    params: { rows: "u32", cols: "u32" },
    body: /* wgsl */ `
  let cells = params.cols / ${t.width}u;
  let base = row * cells;
  let mean = stats[row * 2u];
  let rstd = stats[row * 2u + 1u];
  var g_total = ${t.cell}(0.0);
  var gn_total = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) {
    let g = dy[base + i] * weight[i];
    g_total += g;
    gn_total += g * ((x[base + i] - mean) * rstd);
  }
  let g_mean = ${t.sum(t.flat("g_total"))} / f32(params.cols);
  let gn_mean = ${t.sum(t.flat("gn_total"))} / f32(params.cols);
  for (var i = lane; i < cells; i += step) {
    let n = (x[base + i] - mean) * rstd;
    dx[base + i] = rstd * (dy[base + i] * weight[i] - g_mean - n * gn_mean)${
      adds ? " + addend[base + i]" : ""
    };
  }`,
  });
}

/** Forward, by variant and cell width. */
export const layerNormForward: WideRowFamily<LayerNormKernel> = wideRowFamily(forwardKernel);
/** Gradient of the input, by variant and cell width. */
export const layerNormBackwardInput: WideRowFamily<LayerNormBackwardInputKernel> = wideRowFamily((
  variant,
  width,
) => backwardInputKernel(variant, width, false));
/** The same plus `addend`: the gradient that the residual stream brings. */
export const layerNormBackwardInputAdd: WideRowFamily<LayerNormBackwardInputKernel> = wideRowFamily((
  variant,
  width,
) => backwardInputKernel(variant, width, true));

/** Partial sums of dweight and dbias over chunks of rows; a reduction over the chunks follows. */
export const layerNormBackwardParams: KernelSpec<
  "x" | "stats" | "dy" | "partial",
  "rows" | "cols" | "chunk",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "layerNormBackwardParams",
  buffers: {
    x: "read f32 // [rows, cols]",
    stats: "read f32 // [rows, 2]: mean, rstd",
    dy: "read f32 // [rows, cols]",
    partial: "read_write f32 // [chunks, 2, cols]: dweight, dbias",
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
  var dweight = 0.0;
  var dbias = 0.0;
  for (var row = part * params.chunk; row < min((part + 1u) * params.chunk, params.rows); row++) {
    let at = row * params.cols + col;
    dweight += dy[at] * (x[at] - stats[row * 2u]) * stats[row * 2u + 1u];
    dbias += dy[at];
  }
  partial[part * 2u * params.cols + col] = dweight;
  partial[(part * 2u + 1u) * params.cols + col] = dbias;
}
`,
});

/** Sums the chunks of `layerNormBackwardParams`, in order. */
export const layerNormParamsSum: KernelSpec<
  "partial" | "dweight" | "dbias",
  "chunks" | "cols",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "layerNormParamsSum",
  buffers: {
    partial: "read f32 // [chunks, 2, cols]: dweight, dbias",
    dweight: "read_write f32 // [cols]",
    dbias: "read_write f32 // [cols]",
  },
  params: { chunks: "u32", cols: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ cols }, { WORKGROUP_SIZE }) => [groupsFor(cols, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let col = ${THREAD};
  if (col >= params.cols) { return; }
  var weight_total = 0.0;
  var bias_total = 0.0;
  for (var part = 0u; part < params.chunks; part++) {
    weight_total += partial[part * 2u * params.cols + col];
    bias_total += partial[(part * 2u + 1u) * params.cols + col];
  }
  dweight[col] = weight_total;
  dbias[col] = bias_total;
}
`,
});
