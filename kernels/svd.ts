/**
 * Singular value decomposition by one-sided Jacobi rotations (Hestenes 1958; the order of pairs from Brent and Luk
 * 1985): columns are rotated against each other, pair by pair, until all are orthogonal; their lengths are the singular
 * values. Columns are kept as rows of `work`, so that a pair is two runs of memory; after each comes its row of V^T,
 * which is turned the same way. A round rotates n / 2 pairs that share no column, one launch; n - 1 rounds (a sweep)
 * meet every pair once. A sweep that follows one without rotations does nothing.
 *
 * Variants as in rows.ts: one thread per pair without barriers, or one workgroup per pair; over vec4f or f32.
 * @module
 */

import type { KernelSpec } from "./kernel_spec.ts";
import {
  ROW_BUILTINS,
  type RowFamily,
  rowFamily,
  rowText,
  type RowVariant,
  type WideRowFamily,
  wideRowFamily,
} from "./rows.ts";

/**
 * One round of rotations. `before` holds 0 if the previous sweep rotated nothing; `after` becomes 1 if this one rotates
 * anything.
 */
export type SvdRotateKernel = KernelSpec<
  "before" | "work" | "after",
  "rows" | "n" | "m" | "round" | "tolerance",
  "WORKGROUP_SIZE"
>;

function rotateKernel(variant: RowVariant, width: 1 | 4): SvdRotateKernel {
  const t = rowText(variant, width);
  return {
    name: `svdRotate${t.name}`,
    buffers: { before: "read", work: "read_write", after: "read_write" },
    params: { rows: "u32", n: "u32", m: "u32", round: "u32", tolerance: "f32" },
    tuning: { WORKGROUP_SIZE: variant === "thread" ? 16 : 128 },
    grid: ({ rows }, { WORKGROUP_SIZE }) => t.grid(rows, WORKGROUP_SIZE),
    wgsl: /* wgsl */ `
${t.prelude}
struct Params { rows: u32, n: u32, m: u32, round: u32, tolerance: f32 }
@group(0) @binding(0) var<storage, read> before: array<f32>; // [1]
@group(0) @binding(1) var<storage, read_write> work: array<${t.cell}>; // [n, m + n]
@group(0) @binding(2) var<storage, read_write> after: array<atomic<u32>>; // [1], the bits of a float
@group(0) @binding(3) var<uniform> params: Params; // rows: pairs of a round

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(${ROW_BUILTINS}) {
  ${t.open}
  // Round robin: one player stays, the others move on one place in each round; with an odd n one player does not exist.
  let last = (params.n + 1u) / 2u * 2u - 1u;
  let one = select((params.round + row) % last, last, row == 0u);
  let other = select((params.round + last - row) % last, params.round, row == 0u);
  // One return for both: with a third one before the loops, llvmpipe leaks 64 KB for every workgroup.
  if (before[0] == 0.0 || max(one, other) >= params.n) { return; }
  let cells = params.m / ${t.width}u;
  let stride = (params.m + params.n) / ${t.width}u;
  let p = min(one, other) * stride;
  let q = max(one, other) * stride;
  var pp = ${t.cell}(0.0);
  var qq = ${t.cell}(0.0);
  var pq = ${t.cell}(0.0);
  for (var i = lane; i < cells; i += step) {
    let x = work[p + i];
    let y = work[q + i];
    pp += x * x;
    qq += y * y;
    pq += x * y;
  }
  let xx = ${t.sum(t.flat("pp"))};
  let yy = ${t.sum(t.flat("qq"))};
  let xy = ${t.sum(t.flat("pq"))};
  if (abs(xy) <= params.tolerance * sqrt(xx) * sqrt(yy)) { return; }
  if (lane == 0u) { atomicStore(&after[0], 0x3f800000u); } // 1.0
  let zeta = clamp((yy - xx) / (2.0 * xy), -1e18, 1e18); // its square must stay finite
  let tangent = select(-1.0, 1.0, zeta >= 0.0) / (abs(zeta) + sqrt(1.0 + zeta * zeta));
  let cosine = 1.0 / sqrt(1.0 + tangent * tangent);
  let sine = cosine * tangent;
  for (var i = lane; i < stride; i += step) {
    let x = work[p + i];
    let y = work[q + i];
    work[p + i] = cosine * x - sine * y;
    work[q + i] = sine * x + cosine * y;
  }
}
`,
  };
}

/** The lengths of the first m numbers of each row: work [n, m + n] -> s [n]. */
export type SvdLengthsKernel = KernelSpec<"work" | "s", "rows" | "m", "WORKGROUP_SIZE">;

function lengthsKernel(variant: RowVariant): SvdLengthsKernel {
  const t = rowText(variant, 1);
  return {
    name: `svdLengths${t.name}`,
    buffers: { work: "read", s: "read_write" },
    params: { rows: "u32", m: "u32" },
    tuning: { WORKGROUP_SIZE: variant === "thread" ? 16 : 128 },
    grid: ({ rows }, { WORKGROUP_SIZE }) => t.grid(rows, WORKGROUP_SIZE),
    wgsl: /* wgsl */ `
${t.prelude}
struct Params { rows: u32, m: u32 }
@group(0) @binding(0) var<storage, read> work: array<f32>; // [rows, m + rows]
@group(0) @binding(1) var<storage, read_write> s: array<f32>; // [rows]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(${ROW_BUILTINS}) {
  ${t.open}
  let base = row * (params.m + params.rows);
  var total = 0.0;
  for (var i = lane; i < params.m; i += step) {
    let v = work[base + i];
    total += v * v;
  }
  let squares = ${t.sum("total")};
  if (lane == 0u) { s[row] = sqrt(squares); }
}
`,
  };
}

/**
 * The rows of work [n, m + n] in the order of falling lengths: u [n, m] of length 1 (0 where s is 0), v [n, n], and
 * sorted [n]. One thread per element; equal lengths keep their order. Lengths are compared by their bits, which order
 * floats of one sign and put NaN first.
 */
export const svdSort: KernelSpec<"work" | "s" | "u" | "sorted" | "v", "n" | "m", "WORKGROUP_SIZE"> = {
  name: "svdSort",
  buffers: { work: "read", s: "read", u: "read_write", sorted: "read_write", v: "read_write" },
  params: { n: "u32", m: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ n }) => [n],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { n: u32, m: u32 }
@group(0) @binding(0) var<storage, read> work: array<f32>; // [n, m + n]
@group(0) @binding(1) var<storage, read> s: array<u32>; // [n], the bits of floats
@group(0) @binding(2) var<storage, read_write> u: array<f32>; // [n, m]
@group(0) @binding(3) var<storage, read_write> sorted: array<f32>; // [n]
@group(0) @binding(4) var<storage, read_write> v: array<f32>; // [n, n]
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let row = wid.x + wid.y * nwg.x;
  if (row >= params.n) { return; }
  let own = s[row];
  var place = 0u;
  for (var i = 0u; i < params.n; i++) {
    if (s[i] > own || (s[i] == own && i < row)) { place++; }
  }
  let length = bitcast<f32>(own);
  if (lid.x == 0u) { sorted[place] = length; }
  let base = row * (params.m + params.n);
  for (var i = lid.x; i < params.m; i += WORKGROUP_SIZE) {
    u[place * params.m + i] = select(work[base + i] / length, 0.0, own == 0u);
  }
  for (var i = lid.x; i < params.n; i += WORKGROUP_SIZE) {
    v[place * params.n + i] = work[base + params.m + i];
  }
}
`,
};

/** Rotations, by variant and width of a cell. */
export const svdRotate: WideRowFamily<SvdRotateKernel> = wideRowFamily(rotateKernel);

/** Lengths, by variant. */
export const svdLengths: RowFamily<SvdLengthsKernel> = rowFamily(lengthsKernel);
