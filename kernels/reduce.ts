/**
 * Reductions of the middle axis of [outer, n, inner]. One thread reduces `chunk` elements of one column; longer axes
 * take several launches, a tree whose order is fixed, so the result is deterministic and its error grows with log n.
 * Barrier-free: software adapters are quick, and no invocation loops more than `chunk` times.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/** How two values combine, as WGSL expressions of `acc` and `v`. */
export const reduceTable = {
  sum: { start: "0.0", combine: "acc + v" },
  max: { start: "-3.4028234663852886e38", combine: "select(max(acc, v), v, isNan(v))" },
} as const;

/** Name of a reduction. */
export type ReduceName = keyof typeof reduceTable;

/** x [outer, n, inner] -> y [outer, ceil(n / chunk), inner]. */
export type ReduceKernel = KernelSpec<
  "x" | "y",
  "outer" | "n" | "inner" | "chunk" | "scale",
  "WORKGROUP_SIZE"
>;

function reduceKernel(name: ReduceName): ReduceKernel {
  const { start, combine } = reduceTable[name];
  return {
    name: `${name}Reduce`,
    buffers: { x: "read", y: "read_write" },
    params: { outer: "u32", n: "u32", inner: "u32", chunk: "u32", scale: "f32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ outer, n, inner, chunk }, { WORKGROUP_SIZE }) => [
      groupsFor(outer * groupsFor(n, chunk) * inner, WORKGROUP_SIZE),
    ],
    wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { outer: u32, n: u32, inner: u32, chunk: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>; // [outer, n, inner]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [outer, chunks, inner]
@group(0) @binding(2) var<uniform> params: Params;

// Told by its bits: comparisons may assume NaN absent.
fn isNan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  let chunks = (params.n + params.chunk - 1u) / params.chunk;
  if (i >= params.outer * chunks * params.inner) { return; }
  let column = i % params.inner;
  let first = (i / params.inner) % chunks * params.chunk;
  let outer = i / (params.inner * chunks);
  let last = min(first + params.chunk, params.n);
  var acc = f32(${start});
  for (var j = first; j < last; j++) {
    let v = x[(outer * params.n + j) * params.inner + column];
    acc = ${combine};
  }
  y[i] = acc * params.scale;
}
`,
  };
}

/** Kernel of each reduction. */
export const reduceKernels: Readonly<Record<ReduceName, ReduceKernel>> = {
  sum: reduceKernel("sum"),
  max: reduceKernel("max"),
};

/** dx = dy where x equals the maximum y, shared equally among ties; x [outer, n, inner], y and dy [outer, inner]. */
export const maxReduceBackward: KernelSpec<
  "x" | "y" | "dy" | "dx",
  "outer" | "n" | "inner",
  "WORKGROUP_SIZE"
> = {
  name: "maxReduceBackward",
  buffers: { x: "read", y: "read", dy: "read", dx: "read_write" },
  params: { outer: "u32", n: "u32", inner: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ outer, inner }, { WORKGROUP_SIZE }) => [groupsFor(outer * inner, WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { outer: u32, n: u32, inner: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>; // [outer, n, inner]
@group(0) @binding(1) var<storage, read> y: array<f32>; // [outer, inner]
@group(0) @binding(2) var<storage, read> dy: array<f32>; // [outer, inner]
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // [outer, n, inner]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  if (i >= params.outer * params.inner) { return; }
  let base = i / params.inner * params.n * params.inner + i % params.inner;
  var ties = 0.0;
  for (var j = 0u; j < params.n; j++) {
    if (x[base + j * params.inner] == y[i]) { ties += 1.0; }
  }
  let share = dy[i] / max(ties, 1.0);
  for (var j = 0u; j < params.n; j++) {
    let at = base + j * params.inner;
    dx[at] = select(0.0, share, x[at] == y[i]);
  }
}
`,
};
