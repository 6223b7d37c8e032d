/**
 * What a training loop reports at its next log, collected on the device so that no step waits for a readback.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/**
 * Adds a step's loss, if it is finite; counts the steps whose loss or gradient norm is not finite and keeps the first
 * one's number.
 */
export const tallyLoss: KernelSpec<"loss" | "clip" | "step" | "tally"> = {
  name: "tallyLoss",
  buffers: { loss: "read", clip: "read", step: "read", tally: "read_write" },
  params: {},
  tuning: {},
  grid: () => [1],
  wgsl: /* wgsl */ `
@group(0) @binding(0) var<storage, read> loss: array<f32>; // [1]
@group(0) @binding(1) var<storage, read> clip: array<f32>; // [2]: coefficient and gradient norm
@group(0) @binding(2) var<storage, read> step: array<u32>; // [1]: the step's number, from 1
@group(0) @binding(3) var<storage, read_write> tally: array<u32>; // [4]: bits of the losses' sum, bits of the last norm, bad steps, the first of them

${notFiniteSnippet.trim()}

@compute @workgroup_size(1)
fn main() {
  if (!notFinite(loss[0])) { tally[0] = bitcast<u32>(bitcast<f32>(tally[0]) + loss[0]); }
  tally[1] = bitcast<u32>(clip[1]);
  if (notFinite(loss[0]) || notFinite(clip[1])) {
    if (tally[2] == 0u) { tally[3] = step[0]; }
    tally[2]++;
  }
}
`,
};

/** Adds a step's numbers to their sums, each if it is finite. */
export const tallySums: KernelSpec<"values" | "sums", "size", "WORKGROUP_SIZE"> = {
  name: "tallySums",
  buffers: { values: "read", sums: "read_write" },
  params: { size: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { size: u32 }
@group(0) @binding(0) var<storage, read> values: array<f32>; // [size]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>; // [size]
@group(0) @binding(2) var<uniform> params: Params;

${notFiniteSnippet.trim()}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.size && !notFinite(values[id.x])) { sums[id.x] += values[id.x]; }
}
`,
};
