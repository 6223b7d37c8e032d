/**
 * AdaLoRA's importance of every number of a parameter, smoothed over steps (Zhang et al. 2023, arXiv:2303.10512, eq. 9,
 * 10):
 *   ipt = |p g|,   s = beta1 s + (1 - beta1) ipt,   u = beta2 u + (1 - beta2) |ipt - s|
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** Updates s and u in place. */
export const importanceKernel: KernelSpec<
  "p" | "g" | "s" | "u",
  "size" | "beta1" | "beta2",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "importance",
  buffers: {
    p: "read f32 // [size]",
    g: "read f32 // [size]",
    s: "read_write f32 // [size]: smoothed importance",
    u: "read_write f32 // [size]: smoothed uncertainty",
  },
  params: { size: "u32", beta1: "f32", beta2: "f32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.size) { return; }
  let ipt = abs(p[i] * g[i]);
  let mean = params.beta1 * s[i] + (1.0 - params.beta1) * ipt;
  s[i] = mean;
  u[i] = params.beta2 * u[i] + (1.0 - params.beta2) * abs(ipt - mean);
}
`,
});
