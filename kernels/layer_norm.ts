/**
 * Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450), forward and backward.
 *
 * Variants: "thread" gives each thread a row, without barriers (software adapters); "workgroup" gives each workgroup
 * a row and reduces as a tree (hardware, where neighbouring threads must read neighbouring words). Both come over
 * vec4f for widths that are a multiple of 4 and over f32 for others. The variance takes a second pass over the row:
 * E[x^2] - E[x]^2 cancels when the mean is large.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { workgroupReduceSnippet } from "./snippets.ts";

/** How rows are shared out. */
export type RowVariant = "thread" | "workgroup";

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

/** What a row kernel's text needs to know of its variant. */
interface RowText {
  readonly name: string;
  readonly cell: "vec4f" | "f32";
  readonly width: 1 | 4;
  /** Declarations before the body. */
  readonly prelude: string;
  /** Start of main: defines `row`, `lane` and `step`, and ends what has no row. */
  readonly open: string;
  /** WGSL that sums `v` over the row's invocations. */
  readonly sum: (v: string) => string;
  /** WGSL that takes the maximum of `v` over the row's invocations. */
  readonly max: (v: string) => string;
  /** Adds the components of a cell. */
  readonly flat: (v: string) => string;
  readonly grid: (rows: number, workgroupSize: number) => readonly [number];
}

/** Text pieces of a kernel that works row by row. */
export function rowText(variant: RowVariant, width: 1 | 4): RowText {
  const thread = variant === "thread";
  return {
    name: `${thread ? "Thread" : "Workgroup"}${width === 4 ? "Vec4" : ""}`,
    cell: width === 4 ? "vec4f" : "f32",
    width,
    prelude: `override WORKGROUP_SIZE: u32 = ${thread ? 16 : 128}u;\n${thread ? "" : workgroupReduceSnippet}`,
    open: thread
      ? `let row = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  let lane = 0u;
  let step = 1u;
  if (row >= params.rows) { return; }`
      : `let row = wid.x + wid.y * nwg.x;
  let lane = lid.x;
  let step = WORKGROUP_SIZE;
  if (row >= params.rows) { return; } // of a folded grid, and uniform: all threads of a workgroup leave`,
    sum: (v) => thread ? v : `groupSum(lane, ${v})`,
    max: (v) => thread ? v : `groupMax(lane, ${v})`,
    flat: (v) => width === 4 ? `dot(${v}, vec4f(1.0))` : v,
    grid: (rows, workgroupSize) => [thread ? groupsFor(rows, workgroupSize) : rows],
  };
}

/** Arguments of main that every row kernel takes. */
export const ROW_BUILTINS = `@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u`;

function forwardKernel(variant: RowVariant, width: 1 | 4): LayerNormKernel {
  const t = rowText(variant, width);
  return {
    name: `layerNormForward${t.name}`,
    buffers: { x: "read", weight: "read", bias: "read", y: "read_write", stats: "read_write" },
    params: { rows: "u32", cols: "u32", eps: "f32" },
    tuning: { WORKGROUP_SIZE: variant === "thread" ? 16 : 128 },
    grid: ({ rows }, { WORKGROUP_SIZE }) => t.grid(rows, WORKGROUP_SIZE),
    wgsl: /* wgsl */ `
${t.prelude}
struct Params { rows: u32, cols: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> x: array<${t.cell}>; // [rows, cols]
@group(0) @binding(1) var<storage, read> weight: array<${t.cell}>; // [cols]
@group(0) @binding(2) var<storage, read> bias: array<${t.cell}>; // [cols]
@group(0) @binding(3) var<storage, read_write> y: array<${t.cell}>; // [rows, cols]
@group(0) @binding(4) var<storage, read_write> stats: array<f32>; // [rows, 2]: mean, rstd
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(${ROW_BUILTINS}) {
  ${t.open}
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
  }
}
`,
  };
}

function backwardInputKernel(variant: RowVariant, width: 1 | 4, adds: boolean): LayerNormBackwardInputKernel {
  const t = rowText(variant, width);
  const buffers = { x: "read", weight: "read", stats: "read", dy: "read", dx: "read_write" } as const;
  const addend = { binding: "", value: "" };
  if (adds) {
    addend.binding = `@group(0) @binding(5) var<storage, read> addend: array<${t.cell}>; // [rows, cols]`;
    addend.value = " + addend[base + i]";
  }
  return {
    name: `layerNormBackwardInput${adds ? "Add" : ""}${t.name}`,
    buffers: (adds ? { ...buffers, addend: "read" } : buffers) as LayerNormBackwardInputKernel["buffers"],
    params: { rows: "u32", cols: "u32" },
    tuning: { WORKGROUP_SIZE: variant === "thread" ? 16 : 128 },
    grid: ({ rows }, { WORKGROUP_SIZE }) => t.grid(rows, WORKGROUP_SIZE),
    wgsl: /* wgsl */ `
${t.prelude}
struct Params { rows: u32, cols: u32 }
@group(0) @binding(0) var<storage, read> x: array<${t.cell}>; // [rows, cols]
@group(0) @binding(1) var<storage, read> weight: array<${t.cell}>; // [cols]
@group(0) @binding(2) var<storage, read> stats: array<f32>; // [rows, 2]: mean, rstd
@group(0) @binding(3) var<storage, read> dy: array<${t.cell}>; // [rows, cols]
@group(0) @binding(4) var<storage, read_write> dx: array<${t.cell}>; // [rows, cols]
${addend.binding}
@group(0) @binding(${adds ? 6 : 5}) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(${ROW_BUILTINS}) {
  ${t.open}
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
    dx[base + i] = rstd * (dy[base + i] * weight[i] - g_mean - n * gn_mean)${addend.value};
  }
}
`,
  };
}

/** Kernels of one variant: [over f32, over vec4f]. */
type Pair<K> = Readonly<Record<RowVariant, Readonly<Record<1 | 4, K>>>>;

/** The four kernels a row function makes. */
export function rowKernels<K>(make: (variant: RowVariant, width: 1 | 4) => K): Pair<K> {
  return {
    thread: { 1: make("thread", 1), 4: make("thread", 4) },
    workgroup: { 1: make("workgroup", 1), 4: make("workgroup", 4) },
  };
}

/** Forward, by variant and cell width. */
export const layerNormForward: Pair<LayerNormKernel> = rowKernels(forwardKernel);
/** Gradient of the input, by variant and cell width. */
export const layerNormBackwardInput: Pair<LayerNormBackwardInputKernel> = rowKernels((variant, width) =>
  backwardInputKernel(variant, width, false)
);
/** The same plus `addend`: the gradient that the residual stream brings. */
export const layerNormBackwardInputAdd: Pair<LayerNormBackwardInputKernel> = rowKernels((variant, width) =>
  backwardInputKernel(variant, width, true)
);

/** Partial sums of dweight and dbias over chunks of rows; a reduction over the chunks follows. */
export const layerNormBackwardParams: KernelSpec<
  "x" | "stats" | "dy" | "partial",
  "rows" | "cols" | "chunk",
  "WORKGROUP_SIZE"
> = {
  name: "layerNormBackwardParams",
  buffers: { x: "read", stats: "read", dy: "read", partial: "read_write" },
  params: { rows: "u32", cols: "u32", chunk: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: (
    { rows, cols, chunk },
    { WORKGROUP_SIZE },
  ) => [groupsFor(cols * groupsFor(rows, chunk), WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { rows: u32, cols: u32, chunk: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>; // [rows, cols]
@group(0) @binding(1) var<storage, read> stats: array<f32>; // [rows, 2]: mean, rstd
@group(0) @binding(2) var<storage, read> dy: array<f32>; // [rows, cols]
@group(0) @binding(3) var<storage, read_write> partial: array<f32>; // [chunks, 2, cols]: dweight, dbias
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(${ROW_BUILTINS}) {
  let i = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
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
};

/** Sums the chunks of `layerNormBackwardParams`, in order. */
export const layerNormParamsSum: KernelSpec<
  "partial" | "dweight" | "dbias",
  "chunks" | "cols",
  "WORKGROUP_SIZE"
> = {
  name: "layerNormParamsSum",
  buffers: { partial: "read", dweight: "read_write", dbias: "read_write" },
  params: { chunks: "u32", cols: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ cols }, { WORKGROUP_SIZE }) => [groupsFor(cols, WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { chunks: u32, cols: u32 }
@group(0) @binding(0) var<storage, read> partial: array<f32>; // [chunks, 2, cols]: dweight, dbias
@group(0) @binding(1) var<storage, read_write> dweight: array<f32>; // [cols]
@group(0) @binding(2) var<storage, read_write> dbias: array<f32>; // [cols]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(${ROW_BUILTINS}) {
  let col = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
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
};
