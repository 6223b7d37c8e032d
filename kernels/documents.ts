/**
 * Where the documents of packed rows begin: the words that attention reads (attention_seen.ts), from position ids that
 * restart or from ids of sequences.
 * @module
 */
import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/**
 * starts[b, i] = the first position of the document of position i, its highest bit set where mask[b, i] is 0. A document
 * ends where the next id is not this one + `step`: 1 for positions, 0 for ids of sequences. `idCount` ids are repeated
 * over the rows. Without a mask (`masked` 0) any buffer stands in its place.
 */
export const documentStarts: KernelSpec<
  "ids" | "mask" | "starts",
  "tokens" | "T" | "idCount" | "step" | "masked",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "documents.starts",
  buffers: {
    ids: "read u32 // [idCount], repeated over the tokens",
    mask: "read u32 // [tokens]: 0 hides a key",
    starts: "read_write u32 // [tokens] = [B, T]",
  },
  params: { tokens: "u32", T: "u32", idCount: "u32", step: "u32", masked: "u32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ tokens }, { WORKGROUP_SIZE }) => [groupsFor(tokens, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let token = ${THREAD};
  if (token >= params.tokens) { return; }
  let row = (token / params.T * params.T) % params.idCount;
  var i = token % params.T;
  while (i > 0u && ids[row + i] == ids[row + i - 1u] + params.step) { i--; }
  let hidden = params.masked != 0u && mask[token] == 0u;
  starts[token] = i | select(0u, 0x80000000u, hidden);
}
`,
});

/** positions[b, i] = how many tokens of its document come before token i. */
export const documentPositions: KernelSpec<"starts" | "positions", "tokens" | "T", "WORKGROUP_SIZE"> =
  defineKernel({
    name: "documents.positions",
    buffers: {
      starts: "read u32 // [tokens], as documents.starts writes them",
      positions: "read_write i32 // [tokens]",
    },
    params: { tokens: "u32", T: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid: ({ tokens }, { WORKGROUP_SIZE }) => [groupsFor(tokens, WORKGROUP_SIZE)],
    program: /* wgsl */ `
${MAIN}
  let token = ${THREAD};
  if (token >= params.tokens) { return; }
  positions[token] = i32(token % params.T - (starts[token] & 0x7fffffffu));
}
`,
  });
