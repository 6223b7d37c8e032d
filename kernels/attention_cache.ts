/**
 * Appends the keys and values of new tokens to a cache.
 * @module
 */
import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** cache[b, past + t, :] = qkv[b, t, C:3C]. */
export const attentionAppend: KernelSpec<
  "qkv" | "cache",
  "B" | "T" | "C" | "past" | "capacity",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "attention.append",
  buffers: {
    qkv: "read f32 // [B, T, 3C]",
    cache: "read_write f32 // [B, capacity, 2C]",
  },
  params: { B: "u32", T: "u32", C: "u32", past: "u32", capacity: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ B, T, C }, { WORKGROUP_SIZE }) => [groupsFor(B * T * 2 * C, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let width = 2u * params.C;
  let i = ${THREAD};
  if (i >= params.B * params.T * width) { return; }
  let token = i / width; // b T + t
  let b = token / params.T;
  let row = b * params.capacity + params.past + token % params.T;
  cache[row * width + i % width] = qkv[token * 3u * params.C + params.C + i % width];
}
`,
});
