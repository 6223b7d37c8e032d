/**
 * What a training loop reports at its next log, collected on the device so that no step waits for a readback.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/** Steps that a tally holds until it is read. */
export const TALLY_STEPS = 16;

/**
 * Keeps a step's loss, or NaN if its loss or gradient norm is not finite: each by itself, so that the sum does not
 * depend on when it is read. Counts the latter steps and keeps the first one's number.
 */
export const tallyLoss: KernelSpec<"loss" | "clip" | "step" | "tally"> = defineKernel({
  name: "tallyLoss",
  buffers: {
    loss: "read f32 // [1]",
    clip: "read f32 // [2]: coefficient and gradient norm",
    step: "read u32 // [1]: the step's number, from 1",
    tally:
      `read_write u32 // [4 + ${TALLY_STEPS}]: 0, bits of the last norm, bad steps, the first of them; bits of losses`,
  },
  params: {},
  tuning: {},
  grid: () => [1],
  program: /* wgsl */ `
${notFiniteSnippet.trim()}

@compute @workgroup_size(1)
fn main() {
  let bad = notFinite(loss[0]) || notFinite(clip[1]);
  tally[4u + (step[0] - 1u) % ${TALLY_STEPS}u] = select(bitcast<u32>(loss[0]), 0x7fc00000u, bad); // a NaN
  tally[1] = bitcast<u32>(clip[1]);
  if (bad) {
    if (tally[2] == 0u) { tally[3] = step[0]; }
    tally[2]++;
  }
}
`,
});

/** Keeps a step's other numbers, 0 for those that are not finite. */
export const tallySums: KernelSpec<"values" | "step" | "sums", "size", "WORKGROUP_SIZE"> = defineKernel({
  name: "tallySums",
  buffers: {
    values: "read f32 // [size]",
    step: "read u32 // [1]: the step's number, from 1",
    sums: `read_write f32 // [${TALLY_STEPS}, size]`,
  },
  params: { size: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${notFiniteSnippet.trim()}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.size) { return; }
  let at = (step[0] - 1u) % ${TALLY_STEPS}u * params.size + id.x;
  sums[at] = select(values[id.x], 0.0, notFinite(values[id.x]));
}
`,
});
