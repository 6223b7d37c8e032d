/**
 * Kernels that change each element by a random number of its own. The numbers are recomputed, not stored: element i takes
 * its number from Philox4x32-10 of counter (i / 4, call, step, 0) under the key (seed).
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, philoxSnippet, THREAD } from "./snippets.ts";

/** Of a kernel of float32 [size] elements with one number of its own, named `P`. */
type RandomElementwise<P extends string> = KernelSpec<
  "x" | "rng" | "y",
  "size" | "call" | P,
  "WORKGROUP_SIZE"
>;

/** @param result WGSL of y from `value` (its x), `u` (uniform in [0, 1)) and `params.` + `param` */
function randomElementwise<P extends string>(name: string, param: P, result: string): RandomElementwise<P> {
  return defineKernel({
    name,
    buffers: {
      x: "read f32 // [size]",
      rng: "read u32 // [4]: seed low, seed high, step, 0",
      y: "read_write f32 // [size]",
    },
    params: { size: "u32", call: "u32", [param]: "f32" } as RandomElementwise<P>["params"],
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, 4 * WORKGROUP_SIZE)],
    program: /* wgsl */ `
${philoxSnippet}

${MAIN}
  let quad = ${THREAD};
  let first = quad * 4u;
  if (first >= params.size) { return; }
  var bits = philox4x32(vec4u(quad, params.call, rng[2], 0u), vec2u(rng[0], rng[1]));
  for (var i = 0u; i < min(4u, params.size - first); i++) {
    let value = x[first + i];
    let u = uniform01(bits[i]);
    y[first + i] = ${result};
  }
}
`,
  });
}

/** y = x + uniform in [-bound, bound). */
export const addNoiseKernel = randomElementwise(
  "addNoise",
  "bound",
  "value + params.bound * (2.0 * u - 1.0)",
);

/** y = x / (1 - p) where the element's number is at least p, else 0; the backward pass is the same on dy. */
export const dropoutKernel = randomElementwise(
  "dropout",
  "p",
  "select(0.0, value * (1.0 / (1.0 - params.p)), u >= params.p)",
);
