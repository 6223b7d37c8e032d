/**
 * A number added to the diagonal of many square matrices: x + c I.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/** y = x, plus c where row and column are the same. */
export const addDiagonalKernel: KernelSpec<"x" | "y", "size" | "k" | "c", "WORKGROUP_SIZE"> = {
  name: "addDiagonal",
  buffers: { x: "read", y: "read_write" },
  params: { size: "u32", k: "u32", c: "f32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { size: u32, k: u32, c: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>; // [size / (k k), k, k]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [size / (k k), k, k]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  if (i >= params.size) { return; }
  y[i] = x[i] + select(0.0, params.c, i % params.k == (i / params.k) % params.k);
}
`,
};
