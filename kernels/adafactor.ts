/**
 * Adafactor (Shazeer and Stern 2018, arXiv:1804.04235), with the numbers of `transformers.Adafactor`. With the squares
 * q = g^2 + eps of a matrix [R, C], averages of its rows r [R] and of its columns c [C] stand for all of them:
 *   r = b r + (1 - b) mean_C(q),   c = b c + (1 - b) mean_R(q),   b = 1 - t^decayRate
 *   u = g / sqrt(r / mean(r)) / sqrt(c),    p = p (1 - lr wd) - lr u / max(1, rms(u) / clipThreshold)
 * A vector keeps v = b v + (1 - b) q whole, and u = g / sqrt(v). Tensors of more axes are matrices [L, R, C].
 *
 * Five launches: rows; columns in chunks of rows; columns whole, and mean(r); squares of u; the update. Everything is
 * added up in a fixed order. `hyper` has AdamW's layout, its rows holding lr, b, 1 - b, eps and clipThreshold, 1 - lr wd.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

const WORKGROUP = 64;
/** Rows whose columns one thread adds up. */
export const CHUNK_ROWS = 128;
/** Elements of a thread in the update. */
const PER_THREAD = 16;

/** Adds `sums` up in `sums[0]`. */
const treeSnippet = /* wgsl */ `
var<workgroup> sums: array<f32, ${WORKGROUP}>;
fn addUp(lid: u32) {
  for (var half = ${WORKGROUP / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lid < half) { sums[lid] += sums[lid + half]; }
  }
  workgroupBarrier();
}
`;

const MAIN = /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let group = wid.x + wid.y * nwg.x;
`;

/** r of the rows `first..` of a matrix. */
export const adafactorRows: KernelSpec<"g" | "state" | "hyper", "rows" | "columns" | "first" | "row"> =
  defineKernel({
    name: "adafactorRows",
    buffers: {
      g: "read f32 // [rows, columns]",
      state: "read_write f32 // r [all rows], then c",
      hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
    },
    params: { rows: "u32", columns: "u32", first: "u32", row: "u32" },
    tuning: {},
    grid: ({ rows }) => [rows],
    program: /* wgsl */ `
${notFiniteSnippet}${treeSnippet}${MAIN}
  if (group >= params.rows || notFinite(hyper[0].y)) { return; }
  var sum = 0.0;
  for (var k = lid.x; k < params.columns; k += ${WORKGROUP}u) {
    let v = g[group * params.columns + k] * hyper[0].x;
    sum += v * v;
  }
  sums[lid.x] = sum;
  addUp(lid.x);
  if (lid.x != 0u) { return; }
  let rates = hyper[1u + 2u * params.row]; // lr, b, 1 - b, eps
  let at = params.first + group;
  state[at] = rates.y * state[at] + rates.z * (sums[0] / f32(params.columns) + rates.w);
}
`,
  });

/** Sums of squares of each column, over chunks of rows from number `chunk` on. */
export const adafactorColumns: KernelSpec<
  "g" | "partial" | "hyper",
  "batches" | "rows" | "columns" | "chunk" | "chunks"
> = defineKernel({
  name: "adafactorColumns",
  buffers: {
    g: "read f32 // [batches, rows, columns]",
    partial: "read_write f32 // [batches, chunks, columns]",
    hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
  },
  params: { batches: "u32", rows: "u32", columns: "u32", chunk: "u32", chunks: "u32" },
  tuning: {},
  grid: ({ batches, rows, columns }) => [
    batches * groupsFor(rows, CHUNK_ROWS) * groupsFor(columns, WORKGROUP),
  ],
  program: /* wgsl */ `
${notFiniteSnippet}${MAIN}
  let tiles = (params.columns + ${WORKGROUP - 1}u) / ${WORKGROUP}u;
  let here = (params.rows + ${CHUNK_ROWS - 1}u) / ${CHUNK_ROWS}u; // chunks of this launch
  if (group >= params.batches * here * tiles) { return; }
  let column = group % tiles * ${WORKGROUP}u + lid.x;
  let chunk = group / tiles % here;
  let batch = group / tiles / here;
  if (column >= params.columns || notFinite(hyper[0].y)) { return; }
  let end = min(params.rows, (chunk + 1u) * ${CHUNK_ROWS}u);
  var sum = 0.0;
  for (var k = chunk * ${CHUNK_ROWS}u; k < end; k++) {
    let v = g[(batch * params.rows + k) * params.columns + column] * hyper[0].x;
    sum += v * v;
  }
  partial[(batch * params.chunks + params.chunk + chunk) * params.columns + column] = sum;
}
`,
});

/** c, and the mean of r, of each matrix. */
export const adafactorFinish: KernelSpec<
  "partial" | "state" | "means" | "hyper",
  "batches" | "rows" | "columns" | "chunks" | "row"
> = defineKernel({
  name: "adafactorFinish",
  buffers: {
    partial: "read f32 // [batches, chunks, columns]",
    state: "read_write f32 // r [batches, rows], then c [batches, columns]",
    means: "read_write f32 // [batches]",
    hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
  },
  params: { batches: "u32", rows: "u32", columns: "u32", chunks: "u32", row: "u32" },
  tuning: {},
  grid: ({ batches }) => [batches],
  program: /* wgsl */ `
${notFiniteSnippet}${treeSnippet}${MAIN}
  if (group >= params.batches || notFinite(hyper[0].y)) { return; }
  let rates = hyper[1u + 2u * params.row]; // lr, b, 1 - b, eps
  for (var k = lid.x; k < params.columns; k += ${WORKGROUP}u) {
    var sum = 0.0;
    for (var i = 0u; i < params.chunks; i++) { sum += partial[(group * params.chunks + i) * params.columns + k]; }
    let at = params.batches * params.rows + group * params.columns + k;
    state[at] = rates.y * state[at] + rates.z * (sum / f32(params.rows) + rates.w);
  }
  var sum = 0.0;
  for (var k = lid.x; k < params.rows; k += ${WORKGROUP}u) { sum += state[group * params.rows + k]; }
  sums[lid.x] = sum;
  addUp(lid.x);
  if (lid.x == 0u) { means[group] = sums[0] / f32(params.rows); }
}
`,
});

/** u of element `e` of a launch whose first row is `first`. */
const updateSnippet = /* wgsl */ `
fn updateOf(e: u32) -> f32 {
  let v = g[e] * hyper[0].x;
  if (FACTORED == 0u) { return v / sqrt(state[e + params.first]); }
  let r = params.first + e / params.columns;
  let batch = r / params.rows;
  let c = state[params.batches * params.rows + batch * params.columns + e % params.columns];
  return v * (1.0 / sqrt(state[r] / means[batch])) * (1.0 / sqrt(c));
}
`;

/** Elements, and the shape of the tensor that they are of. For a vector, `first` is the first element, not row. */
const SHAPE = { size: "u32", first: "u32", batches: "u32", rows: "u32", columns: "u32", row: "u32" } as const;

/** Sums of squares of u, `groups` of them from number `offset` on; of a vector, v too. */
export const adafactorSquares: KernelSpec<
  "g" | "state" | "means" | "squares" | "hyper",
  keyof typeof SHAPE | "offset" | "groups",
  "FACTORED"
> = defineKernel({
  name: "adafactorSquares",
  buffers: {
    g: "read f32 // [size]",
    state: "read_write f32 // r [batches, rows] and c [batches, columns], or v",
    means: "read f32 // [batches]",
    squares: "read_write f32 // [all groups]",
    hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
  },
  params: { ...SHAPE, offset: "u32", groups: "u32" },
  tuning: { FACTORED: 1 },
  grid: ({ groups }) => [groups],
  program: /* wgsl */ `
${notFiniteSnippet}${treeSnippet}${updateSnippet}${MAIN}
  if (group >= params.groups || notFinite(hyper[0].y)) { return; }
  let rates = hyper[1u + 2u * params.row]; // lr, b, 1 - b, eps
  var sum = 0.0;
  for (var e = group * ${WORKGROUP}u + lid.x; e < params.size; e += params.groups * ${WORKGROUP}u) {
    if (FACTORED == 0u) {
      let v = g[e] * hyper[0].x;
      let at = e + params.first;
      state[at] = rates.y * state[at] + rates.z * (v * v + rates.w);
    }
    let u = updateOf(e);
    sum += u * u;
  }
  sums[lid.x] = sum;
  addUp(lid.x);
  if (lid.x == 0u) { squares[params.offset + group] = sums[0]; }
}
`,
});

/** The update itself, by the `count` sums of squares of a tensor of `total` elements. */
export const adafactorApply: KernelSpec<
  "p" | "g" | "state" | "means" | "squares" | "hyper",
  keyof typeof SHAPE | "count" | "total",
  "FACTORED"
> = defineKernel({
  name: "adafactorApply",
  buffers: {
    p: "read_write f32 // [size]",
    g: "read f32 // [size]",
    state: "read f32 // r [batches, rows] and c [batches, columns], or v",
    means: "read f32 // [batches]",
    squares: "read f32 // [count]",
    hyper: "read vec4f // [1 + 2 rows]: clip, then rows",
  },
  params: { ...SHAPE, count: "u32", total: "u32" },
  tuning: { FACTORED: 1 },
  grid: ({ size }) => [groupsFor(size, WORKGROUP * PER_THREAD)],
  program: /* wgsl */ `
${notFiniteSnippet}${treeSnippet}${updateSnippet}${MAIN}
  let begin = group * ${WORKGROUP * PER_THREAD}u;
  if (begin >= params.size || notFinite(hyper[0].y)) { return; }
  var sum = 0.0;
  for (var k = lid.x; k < params.count; k += ${WORKGROUP}u) { sum += squares[k]; }
  sums[lid.x] = sum;
  addUp(lid.x);
  let rates = hyper[1u + 2u * params.row]; // lr, b, 1 - b, eps
  let more = hyper[2u + 2u * params.row]; // clipThreshold, 1 - lr wd
  let scale = rates.x / max(1.0, sqrt(sums[0] / f32(params.total)) / more.x);
  let end = min(params.size, begin + ${WORKGROUP * PER_THREAD}u);
  for (var e = begin + lid.x; e < end; e += ${WORKGROUP}u) { p[e] = p[e] * more.y - scale * updateOf(e); }
}
`,
});
