/**
 * Finds tensors with an infinity or NaN, by its bits: arithmetic may assume them absent.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN } from "./snippets.ts";

/** Sets flags[index] where an element of x is not finite. */
export const flagNonFinite: KernelSpec<"x" | "flags", "size" | "index", "WORKGROUP_SIZE" | "PER_THREAD"> =
  defineKernel({
    name: "flagNonFinite",
    buffers: {
      x: "read u32 // [size]: bits of float32",
      flags: "read_write atomic<u32> // [all tensors]",
    },
    params: { size: "u32", index: "u32" },
    tuning: { WORKGROUP_SIZE: 64, PER_THREAD: 16 },
    grid: ({ size }, { WORKGROUP_SIZE, PER_THREAD }) => [groupsFor(size, WORKGROUP_SIZE * PER_THREAD)],
    program: /* wgsl */ `
${MAIN}
  let begin = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE * PER_THREAD + lid.x;
  var found = 0u;
  for (var k = 0u; k < PER_THREAD; k++) {
    let i = begin + k * WORKGROUP_SIZE;
    if (i < params.size && (x[i] & 0x7f800000u) == 0x7f800000u) { found = 1u; }
  }
  if (found == 1u) { atomicStore(&flags[params.index], 1u); }
}
`,
  });
