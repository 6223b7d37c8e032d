/**
 * Data movement by strides: permute, slice, expand and concatenate are one gather or one scatter of 32-bit words over
 * at most six dimensions.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** Dimensions a copy has; shorter shapes are padded with 1 at the front. */
export const COPY_RANK = 6;

/** Sizes d0..d5 and strides s0..s5 of the strided side, its first element, and the count of elements. */
export type StridedParams =
  | "size"
  | "offset"
  | "d1"
  | "d2"
  | "d3"
  | "d4"
  | "d5"
  | "s0"
  | "s1"
  | "s2"
  | "s3"
  | "s4"
  | "s5";

function stridedKernel(name: string, store: string): KernelSpec<"x" | "y", StridedParams, "WORKGROUP_SIZE"> {
  return defineKernel({
    name,
    buffers: {
      x: "read u32 // gather: words at offset + sum d_k s_k; scatter: [size]",
      y: "read_write u32 // gather: [size]; scatter: words at offset + sum d_k s_k",
    },
    params: {
      size: "u32",
      offset: "u32",
      d1: "u32",
      d2: "u32",
      d3: "u32",
      d4: "u32",
      d5: "u32",
      s0: "u32",
      s1: "u32",
      s2: "u32",
      s3: "u32",
      s4: "u32",
      s5: "u32",
    },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
    program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.size) { return; }
  var rest = i;
  var at = params.offset + rest % params.d5 * params.s5;
  rest /= params.d5;
  at += rest % params.d4 * params.s4;
  rest /= params.d4;
  at += rest % params.d3 * params.s3;
  rest /= params.d3;
  at += rest % params.d2 * params.s2;
  rest /= params.d2;
  at += rest % params.d1 * params.s1 + rest / params.d1 * params.s0;
  ${store}
}
`,
  });
}

/** y[i] = x[offset + index(i) . strides]; y is dense [d0..d5]. */
export const gatherStrided: KernelSpec<"x" | "y", StridedParams, "WORKGROUP_SIZE"> = stridedKernel(
  "gatherStrided",
  "y[i] = x[at];",
);

/** y[offset + index(i) . strides] = x[i]; x is dense [d0..d5]; other elements of y stay. */
export const scatterStrided: KernelSpec<"x" | "y", StridedParams, "WORKGROUP_SIZE"> = stridedKernel(
  "scatterStrided",
  "y[at] = x[i];",
);
