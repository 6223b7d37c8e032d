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

import { defineKernel } from "./define_kernel.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import {
  type RowFamily,
  rowFamily,
  rowKernel,
  rowText,
  type RowVariant,
  type WideRowFamily,
  wideRowFamily,
} from "./rows.ts";
import { MAIN } from "./snippets.ts";

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
  return rowKernel(t, {
    name: "svdRotate",
    buffers: {
      before: "read f32 // [1]",
      work: `read_write ${t.cell} // [n, m + n]`,
      after: "read_write atomic<u32> // [1], the bits of a float",
    },
    params: { rows: "u32", n: "u32", m: "u32", round: "u32", tolerance: "f32" }, // rows: pairs of a round
    body: /* wgsl */ `
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
  }`,
  });
}

/** The lengths of the first m numbers of each row: work [n, m + n] -> s [n]. */
export type SvdLengthsKernel = KernelSpec<"work" | "s", "rows" | "m", "WORKGROUP_SIZE">;

function lengthsKernel(variant: RowVariant): SvdLengthsKernel {
  const t = rowText(variant, 1);
  return rowKernel(t, {
    name: "svdLengths",
    buffers: {
      work: "read f32 // [rows, m + rows]",
      s: "read_write f32 // [rows]",
    },
    params: { rows: "u32", m: "u32" },
    body: /* wgsl */ `
  let base = row * (params.m + params.rows);
  var total = 0.0;
  for (var i = lane; i < params.m; i += step) {
    let v = work[base + i];
    total += v * v;
  }
  let squares = ${t.sum("total")};
  if (lane == 0u) { s[row] = sqrt(squares); }`,
  });
}

/**
 * The rows of work [n, m + n] in the order of falling lengths: u [n, m] of length 1 (0 where s is 0), v [n, n], and
 * sorted [n]. One thread per element; equal lengths keep their order. Lengths are compared by their bits, which order
 * floats of one sign and put NaN first.
 */
export const svdSort: KernelSpec<"work" | "s" | "u" | "sorted" | "v", "n" | "m", "WORKGROUP_SIZE"> =
  defineKernel({
    name: "svdSort",
    buffers: {
      work: "read f32 // [n, m + n]",
      s: "read u32 // [n], the bits of floats",
      u: "read_write f32 // [n, m]",
      sorted: "read_write f32 // [n]",
      v: "read_write f32 // [n, n]",
    },
    params: { n: "u32", m: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ n }) => [n],
    program: /* wgsl */ `
${MAIN}
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
  });

/** Rotations, by variant and width of a cell. */
export const svdRotate: WideRowFamily<SvdRotateKernel> = wideRowFamily(rotateKernel);

/** Lengths, by variant. */
export const svdLengths: RowFamily<SvdLengthsKernel> = rowFamily(lengthsKernel);
