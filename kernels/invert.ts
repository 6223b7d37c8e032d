/**
 * One step of Gauss-Jordan elimination on many matrices: after steps 0 to k - 1, y holds the inverses. Without pivoting,
 * so for matrices whose leading minors are away from 0, such as I + Q with Q skew-symmetric.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/** y = x with column `step` eliminated; x and y differ. */
export const invertStep: KernelSpec<"x" | "y", "size" | "k" | "step", "WORKGROUP_SIZE"> = {
  name: "invertStep",
  buffers: { x: "read", y: "read_write" },
  params: { size: "u32", k: "u32", step: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { size: u32, k: u32, step: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>; // [size / (k k), k, k]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [size / (k k), k, k]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let i = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  if (i >= params.size) { return; }
  let k = params.k;
  let step = params.step;
  let col = i % k;
  let row = (i / k) % k;
  let first = i - row * k - col; // of the matrix
  let pivot = 1.0 / x[first + step * k + step];
  if (row == step) {
    y[i] = select(x[i] * pivot, pivot, col == step);
  } else {
    let factor = x[first + row * k + step] * pivot;
    y[i] = select(x[i] - factor * x[first + step * k + col], -factor, col == step);
  }
}
`,
};
