/**
 * Multiplicative dropout (Liu et al. 2024, arXiv:2311.06243): in one of `levels` rows of blocks, chosen at random,
 * exactly
 * `count` blocks are dropped. The choice is a function of (seed, step, call): a block rests if fewer than `count` of
 * its row drew less than it did.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, philoxSnippet, THREAD } from "./snippets.ts";

/** keep = 0 for blocks that rest, 1 for the others. */
export const blockDropoutKernel: KernelSpec<
  "rng" | "keep",
  "levels" | "blocks" | "count" | "call",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "blockDropout",
  buffers: {
    rng: "read u32 // [4]: seed low, seed high, step, 0",
    keep: "read_write f32 // [levels, blocks]",
  },
  params: { levels: "u32", blocks: "u32", count: "u32", call: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ levels, blocks }, { WORKGROUP_SIZE }) => [groupsFor(levels * blocks, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${philoxSnippet}

fn draw(i: u32) -> u32 {
  return philox4x32(vec4u(i, params.call, rng[2], 0u), vec2u(rng[0], rng[1])).x;
}

${MAIN}
  let i = ${THREAD};
  if (i >= params.levels * params.blocks) { return; }
  let block = i % params.blocks;
  let own = draw(block);
  var before = 0u; // blocks of the row that drew less
  for (var j = 0u; j < params.blocks; j++) {
    let other = draw(j);
    before += select(0u, 1u, other < own || (other == own && j < block));
  }
  let rests = i / params.blocks == draw(0xffffffffu) % params.levels && before < params.count;
  keep[i] = select(1.0, 0.0, rests);
}
`,
});
