/**
 * Initial weights drawn on the device: element i comes from Philox4x32-10 of counter (i / 4, call, 0, 2) under the
 * seed, so that it does not depend on how the tensor is cut into launches.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, philoxSnippet, THREAD } from "./snippets.ts";

/** y = scale normal(0, 1), or uniform in [-scale, scale) where NORMAL = 0. */
export const randomFill: KernelSpec<
  "y",
  "size" | "first" | "seedLow" | "seedHigh" | "call" | "scale",
  "WORKGROUP_SIZE" | "NORMAL"
> = defineKernel({
  name: "randomFill",
  buffers: {
    y: "read_write f32 // [size], elements first.. of the tensor",
  },
  params: { size: "u32", first: "u32", seedLow: "u32", seedHigh: "u32", call: "u32", scale: "f32" },
  tuning: { WORKGROUP_SIZE: 64, NORMAL: 1 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, 4 * WORKGROUP_SIZE)],
  program: /* wgsl */ `
${philoxSnippet}

${MAIN}
  let at = (${THREAD}) * 4u;
  if (at >= params.size) { return; }
  let quad = (params.first + at) / 4u;
  let bits = philox4x32(vec4u(quad, params.call, 0u, 2u), vec2u(params.seedLow, params.seedHigh));
  var v = vec4f(uniform01(bits.x), uniform01(bits.y), uniform01(bits.z), uniform01(bits.w));
  if (NORMAL == 1u) { // Box and Muller 1958; 1 - u keeps log away from 0
    let radius = sqrt(-2.0 * log(1.0 - v.xz));
    let angle = 6.2831853 * v.yw - 3.1415927; // sin and cos are accurate only within [-pi, pi]
    v = vec4f(radius.x * cos(angle.x), radius.x * sin(angle.x), radius.y * cos(angle.y), radius.y * sin(angle.y));
  } else {
    v = v * 2.0 - 1.0;
  }
  for (var i = 0u; i < min(4u, params.size - at); i++) { y[at + i] = v[i] * params.scale; }
}
`,
});
