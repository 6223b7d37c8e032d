/**
 * Corrects what an optimizer's step number decides by the steps that were skipped. The host counts every step; a step
 * whose gradient norm is not finite changes nothing, and only the device knows whether it did.
 *   adamwCorrections: lr / (1 - beta1^t) and sqrt(1 - beta2^t)    sgdFirstStep: whether there is a momentum buffer
 *   adafactorDecay: b = 1 - t^decayRate
 * with t = the host's count - skipped steps. One thread per row of `hyper`, as kernels/adamw.ts and kernels/sgd.ts read
 * it.
 * @module
 */

import { notFiniteSnippet } from "./adamw.ts";
import { defineKernel } from "./define_kernel.ts";
import type { KernelSpec } from "./kernel_spec.ts";

const WORKGROUP_SIZE = 64;

/** A kernel that corrects the rows of an optimizer. */
export type StepCountKernel = KernelSpec<"counts" | "hyper" | "skipped", "rows">;

const BEGIN = /* wgsl */ `
  let row = id.x;
  if (row >= params.rows || counts[row].x == 0.0) { return; }
  if (notFinite(hyper[0].y)) {
    skipped[row]++;
    return;
  }
  let t = counts[row].x - f32(skipped[row]);
`;

function stepCountKernel(name: string, comment: string, functions: string, body: string): StepCountKernel {
  return defineKernel({
    name,
    buffers: {
      counts: `read vec4f // [rows]: step number (0: no gradient), ${comment}`,
      hyper: "read_write vec4f // [1 + 2 rows]: clip and norm, then two vectors per row",
      skipped: "read_write u32 // [rows]",
    },
    params: { rows: "u32" },
    tuning: {},
    grid: ({ rows }) => [Math.ceil(rows / WORKGROUP_SIZE)],
    program: /* wgsl */ `
${notFiniteSnippet.trim()}
${functions}
@compute @workgroup_size(${WORKGROUP_SIZE})
fn main(@builtin(global_invocation_id) id: vec3u) {
  ${BEGIN.trim()}
${body}}
`,
  });
}

/** Of AdamW: `counts` holds the step number, lr, ln(beta1) and ln(beta2). */
export const adamwCorrections: StepCountKernel = stepCountKernel(
  "adamwCorrections",
  "lr, ln beta1, ln beta2",
  /* wgsl */ `
// 1 - exp(x) for x <= 0; by its series near 0, where the difference would lose its digits
fn complement(x: f32) -> f32 {
  if (x < -0.5) { return 1.0 - exp(x); }
  var sum = 1.0;
  for (var n = 10.0; n > 1.0; n -= 1.0) { sum = 1.0 + x / n * sum; }
  return -x * sum;
}
`,
  `  hyper[1u + 2u * row].y = counts[row].y / complement(t * counts[row].z);
  hyper[1u + 2u * row].z = sqrt(complement(t * counts[row].w));
`,
);

/** Of SGD with momentum: the first step takes the gradient whole. */
export const sgdFirstStep: StepCountKernel = stepCountKernel(
  "sgdFirstStep",
  "momentum, 1 - dampening, 0",
  "",
  `  let first = t <= 1.0;
  hyper[1u + 2u * row].z = select(counts[row].y, 0.0, first);
  hyper[1u + 2u * row].w = select(counts[row].z, 1.0, first);
`,
);

/** Of Adafactor: `counts` holds the step number and the decay rate. */
export const adafactorDecay: StepCountKernel = stepCountKernel(
  "adafactorDecay",
  "decayRate, 0, 0",
  "",
  `  let fresh = select(exp2(counts[row].y * log2(t)), 1.0, t <= 1.0);
  hyper[1u + 2u * row].y = 1.0 - fresh;
  hyper[1u + 2u * row].z = fresh;
`,
);
