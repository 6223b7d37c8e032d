/**
 * Queries, keys and values on their way from three projections to attention, in one launch: queries and keys get rotary
 * position embeddings, keys and values lie side by side, in a tensor of their own or in a cache.
 *
 * Rotary position embeddings (Su et al. 2021, arXiv:2104.09864) are in Hugging Face's order: element i of a head's first
 * half turns with element i of its second half, by the angle that `table` has for the token's position.
 *   y_i = x_i cos - x_j sin,   y_j = x_j cos + x_i sin,   j = i + D / 2
 * Backward turns the other way and parts keys and values. Cosines come from the host: WGSL promises `cos` for small
 * angles alone. Without positions only keys and values move. Queries that nothing else reads are turned where they lie.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, THREAD } from "./snippets.ts";

/** Sizes: `tokens` = B T; key-value row of token (b, t) is b `capacity` + `past` + t. */
export type HeadsParam = "tokens" | "T" | "H" | "Hkv" | "half" | "positionCount" | "past" | "capacity";

const PARAMS = {
  tokens: "u32",
  T: "u32",
  H: "u32",
  Hkv: "u32",
  half: "u32",
  positionCount: "u32",
  past: "u32",
  capacity: "u32",
} as const;

const grid = (turns: boolean) =>
(
  { tokens, H, Hkv, half }: Readonly<Record<HeadsParam, number>>,
  { WORKGROUP_SIZE }: { readonly WORKGROUP_SIZE: number },
) => [groupsFor(tokens * ((turns ? H : 0) + 2 * Hkv) * half, WORKGROUP_SIZE)] as const;

const ANGLES = {
  positions: "read i32 // [positionCount], repeated over the tokens",
  table: "read f32 // [length, 2, half]: cosines, sines",
} as const;

/** What all kernels of one kind have in common. */
const shared = (turns: boolean) => ({ params: PARAMS, tuning: { WORKGROUP_SIZE: 64 }, grid: grid(turns) });

/** The program of a direction, with or without positions, queries in place or not; names of gradients begin with d. */
function text(turns: boolean, back: boolean, inPlace = false): string {
  const d = back ? "d" : "";
  const turned = inPlace ? "q" : "qTurned";
  /** Moves a pair between `name` at `own` and `joint` at `at`, turned or as it is. */
  const move = (name: string, own: string, joint: string, at: string, turn: boolean) => {
    const [source, s, target, t] = back ? [d + joint, at, d + name, own] : [name, own, joint, at];
    const [first, second] = turn ? ["a * cosine - b * sine", "b * cosine + a * sine"] : ["a", "b"];
    return `let a = ${source}[${s}];
    let b = ${source}[${s} + params.half];
    ${target}[${t}] = ${first};
    ${target}[${t} + params.half] = ${second};`;
  };
  const angles = `let position = u32(positions[token % params.positionCount]);
  let cosine = table[2u * position * params.half + i];
  let sine = ${back ? "-" : ""}table[(2u * position + 1u) * params.half + i];`;
  return /* wgsl */ `
${MAIN}
  let pair = ${THREAD};
  let queries = ${turns ? "params.H" : "0u"};
  let heads = queries + 2u * params.Hkv;
  if (pair >= params.tokens * heads * params.half) { return; }
  let i = pair % params.half;
  let head = pair / params.half % heads;
  let token = pair / params.half / heads;
  let size = 2u * params.half;
  ${turns ? angles : ""}
  ${
    turns
      ? `if (head < queries) {
    let at = (token * params.H + head) * size + i;
    ${move("q", "at", turned, "at", true)}
    return;
  }`
      : ""
  }
  let row = token / params.T * params.capacity + params.past + token % params.T;
  let joint = (row * 2u * params.Hkv + head - queries) * size + i;
  if (head < queries + params.Hkv) {
    let at = (token * params.Hkv + head - queries) * size + i;
    ${move("k", "at", "kv", "joint", turns)}
  } else {
    let at = (token * params.Hkv + head - queries - params.Hkv) * size + i;
    ${move("v", "at", "kv", "joint", false)}
  }
}
`;
}

/** Forward with positions. */
export const turnHeads: KernelSpec<
  "q" | "k" | "v" | "positions" | "table" | "qTurned" | "kv",
  HeadsParam,
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "heads.turn",
  ...shared(true),
  buffers: {
    q: "read f32 // [tokens, H, 2, half]",
    k: "read f32 // [tokens, Hkv, 2, half]",
    v: "read f32 // [tokens, Hkv, 2, half]",
    ...ANGLES,
    qTurned: "read_write f32 // [tokens, H, 2, half]",
    kv: "read_write f32 // [B, capacity, 2, Hkv, 2, half]: keys, values",
  },
  program: text(true, false),
});

/** As `turnHeads`, with the queries turned where they lie. */
export const turnHeadsInPlace: KernelSpec<
  "k" | "v" | "positions" | "table" | "q" | "kv",
  HeadsParam,
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "heads.turnInPlace",
  ...shared(true),
  buffers: {
    k: "read f32 // [tokens, Hkv, 2, half]",
    v: "read f32 // [tokens, Hkv, 2, half]",
    ...ANGLES,
    q: "read_write f32 // [tokens, H, 2, half]",
    kv: "read_write f32 // [B, capacity, 2, Hkv, 2, half]: keys, values",
  },
  program: text(true, false, true),
});

/** Gradients of `turnHeads`. */
export const turnHeadsBack: KernelSpec<
  "dqTurned" | "dkv" | "positions" | "table" | "dq" | "dk" | "dv",
  HeadsParam,
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "heads.turnBack",
  ...shared(true),
  buffers: {
    dqTurned: "read f32 // [tokens, H, 2, half]",
    dkv: "read f32 // [B, capacity, 2, Hkv, 2, half]: keys, values",
    ...ANGLES,
    dq: "read_write f32 // [tokens, H, 2, half]",
    dk: "read_write f32 // [tokens, Hkv, 2, half]",
    dv: "read_write f32 // [tokens, Hkv, 2, half]",
  },
  program: text(true, true),
});

/** Forward without positions: keys and values side by side. */
export const joinHeads: KernelSpec<"k" | "v" | "kv", HeadsParam, "WORKGROUP_SIZE"> = defineKernel({
  name: "heads.join",
  ...shared(false),
  buffers: {
    k: "read f32 // [tokens, Hkv, 2, half]",
    v: "read f32 // [tokens, Hkv, 2, half]",
    kv: "read_write f32 // [B, capacity, 2, Hkv, 2, half]: keys, values",
  },
  program: text(false, false),
});

/** Gradients of `joinHeads`. */
export const partHeads: KernelSpec<"dkv" | "dk" | "dv", HeadsParam, "WORKGROUP_SIZE"> = defineKernel({
  name: "heads.part",
  ...shared(false),
  buffers: {
    dkv: "read f32 // [B, capacity, 2, Hkv, 2, half]: keys, values",
    dk: "read_write f32 // [tokens, Hkv, 2, half]",
    dv: "read_write f32 // [tokens, Hkv, 2, half]",
  },
  program: text(false, true),
});
