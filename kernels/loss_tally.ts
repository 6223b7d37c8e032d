/**
 * What a training loop reports at its next log, collected on the device so that no step waits for a readback.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import type { KernelSpec } from "./kernel_spec.ts";

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
