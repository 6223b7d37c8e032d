/**
 * Kernels that compute each element by itself, four to a thread. Buffers are bound with exact sizes, so the last four are
 * guarded element by element.
 * @module
 */

import { defineKernel, type KernelDefinition } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** What such a kernel is made of. */
interface ElementDefinition<Buffers extends string, Params extends string>
  extends Pick<KernelDefinition<Buffers, "size" | Params, "WORKGROUP_SIZE">, "name" | "buffers" | "params"> {
  /** WGSL of functions that the statements call. */
  readonly functions?: string;
  /** WGSL statements for element `i` of `params.size`. */
  readonly each: string;
}

/** Elements a thread takes. */
const PER_THREAD = 4;

/** The kernel that runs `each` for every element. */
export function elementKernel<Buffers extends string, Params extends string = never>(
  { name, buffers, params, functions = "", each }: ElementDefinition<Buffers, Params>,
): KernelSpec<Buffers, "size" | Params, "WORKGROUP_SIZE"> {
  return defineKernel({
    name,
    buffers,
    params,
    tuning: { WORKGROUP_SIZE: 64 },
    grid: (values, { WORKGROUP_SIZE }) => [groupsFor(values["size"], PER_THREAD * WORKGROUP_SIZE)],
    program: /* wgsl */ `${functions}
${MAIN}
  let first = (${THREAD}) * ${PER_THREAD}u;
  for (var i = first; i < min(first + ${PER_THREAD}u, params.size); i++) {
    ${each}
  }
}
`,
  });
}
