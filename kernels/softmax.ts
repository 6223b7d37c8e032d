/**
 * Softmax and log-softmax over the last axis, forward and backward: row kernels with the variants of rows.ts. The row's
 * maximum is subtracted first, so that exp stays finite.
 * @module
 */

import type { KernelSpec } from "./kernel_spec.ts";
import { keepNanSnippet } from "./snippets.ts";
import { rowKernel, rowText, type RowVariant, type WideRowFamily, wideRowFamily } from "./rows.ts";

/** y [rows, cols]; LOG = 1 gives log-softmax. */
export type SoftmaxKernel = KernelSpec<"x" | "y", "rows" | "cols", "WORKGROUP_SIZE" | "LOG">;
/** dx [rows, cols] from y and dy. */
export type SoftmaxBackwardKernel = KernelSpec<"y" | "dy" | "dx", "rows" | "cols", "WORKGROUP_SIZE" | "LOG">;

function forwardKernel(variant: RowVariant, width: 1 | 4): SoftmaxKernel {
  const t = rowText(variant, width);
  const exp = width === 4 ? "expKeep4" : "expKeep";
  const top = width === 4 ? "max(max(high.x, high.y), max(high.z, high.w))" : "high";
  return rowKernel(t, {
    name: "softmaxForward",
    buffers: {
      x: `read ${t.cell} // [rows, cols]`,
      y: `read_write ${t.cell} // [rows, cols]`,
    },
    params: { rows: "u32", cols: "u32" },
    tuning: { LOG: 0 },
    functions: keepNanSnippet,
    body: /* wgsl */ `
  let cells = params.cols / ${t.width}u;
  let base = row * cells;
  var high = ${t.cell}(-3.4028234663852886e38);
  for (var i = lane; i < cells; i += step) { high = max(high, x[base + i]); }
  let rowMax = ${t.max(top)};
  var total = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) {
    let e = ${exp}(x[base + i] - rowMax);
    total += e;
    if (LOG == 0u) { y[base + i] = e; }
  }
  let rowSum = ${t.sum(t.flat("total"))};
  if (LOG == 0u) {
    let factor = 1.0 / rowSum;
    for (var i = lane; i < cells; i += step) { y[base + i] *= factor; }
  } else {
    let shift = rowMax + logKeep(rowSum);
    for (var i = lane; i < cells; i += step) { y[base + i] = x[base + i] - shift; }
  }`,
  });
}

function backwardKernel(variant: RowVariant, width: 1 | 4): SoftmaxBackwardKernel {
  const t = rowText(variant, width);
  const exp = width === 4 ? "expKeep4" : "expKeep";
  return rowKernel(t, {
    name: "softmaxBackward",
    buffers: {
      y: `read ${t.cell} // [rows, cols]`,
      dy: `read ${t.cell} // [rows, cols]`,
      dx: `read_write ${t.cell} // [rows, cols]`,
    },
    params: { rows: "u32", cols: "u32" },
    tuning: { LOG: 0 },
    functions: keepNanSnippet,
    body: /* wgsl */ `
  let cells = params.cols / ${t.width}u;
  let base = row * cells;
  var total = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) {
    // softmax: sum of dy y; log-softmax: sum of dy
    total += dy[base + i] * select(${t.cell}(1.0), y[base + i], LOG == 0u);
  }
  let rowSum = ${t.sum(t.flat("total"))};
  for (var i = lane; i < cells; i += step) {
    if (LOG == 0u) {
      dx[base + i] = y[base + i] * (dy[base + i] - rowSum);
    } else {
      dx[base + i] = dy[base + i] - ${exp}(y[base + i]) * rowSum;
    }
  }`,
  });
}

/** Forward, by variant and cell width. */
export const softmaxForward: WideRowFamily<SoftmaxKernel> = wideRowFamily(forwardKernel);
/** Backward, by variant and cell width. */
export const softmaxBackward: WideRowFamily<SoftmaxBackwardKernel> = wideRowFamily(
  backwardKernel,
);
