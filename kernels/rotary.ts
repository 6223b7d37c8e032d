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

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

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

const ANGLES = ["positions", "table"];
const SHAPES: Readonly<Record<string, string>> = {
  q: "[tokens, H, 2, half]",
  k: "[tokens, Hkv, 2, half]",
  v: "[tokens, Hkv, 2, half]",
  positions: "[positionCount], repeated over the tokens",
  table: "[length, 2, half]: cosines, sines",
  qTurned: "as q",
  kv: "[B, capacity, 2, Hkv, 2, half]: keys, values",
};

/** The program of a direction, with or without positions, queries in place or not; names of gradients begin with d. */
function text(turns: boolean, back: boolean, inPlace = false): string {
  const d = back ? "d" : "";
  const turned = inPlace ? "q" : "qTurned";
  const apart = [...(turns && !inPlace ? ["q"] : []), "k", "v"];
  const joined = [...(turns ? [turned] : []), "kv"];
  const [from, to] = back ? [joined, apart] : [apart, joined];
  const bindings = [
    ...from.map((name) => [d + name, "read", name, "f32"]),
    ...(turns ? ANGLES.map((name) => [name, "read", name, name === "table" ? "f32" : "i32"]) : []),
    ...to.map((name) => [d + name, "read_write", name, "f32"]),
  ].map(([name, access, shape, type], i) =>
    `@group(0) @binding(${i}) var<storage, ${access}> ${name}: array<${type}>; // ${SHAPES[shape]}`
  );
  bindings.push(`@group(0) @binding(${bindings.length}) var<uniform> params: Params;`);
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
override WORKGROUP_SIZE: u32 = 64u;
struct Params { ${Object.entries(PARAMS).map(([name, type]) => `${name}: ${type}`).join(", ")} }
${bindings.join("\n")}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let pair = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
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
> = {
  name: "heads.turn",
  buffers: {
    q: "read",
    k: "read",
    v: "read",
    positions: "read",
    table: "read",
    qTurned: "read_write",
    kv: "read_write",
  },
  params: PARAMS,
  tuning: { WORKGROUP_SIZE: 64 },
  grid: grid(true),
  wgsl: text(true, false),
};

/** As `turnHeads`, with the queries turned where they lie. */
export const turnHeadsInPlace: KernelSpec<
  "k" | "v" | "positions" | "table" | "q" | "kv",
  HeadsParam,
  "WORKGROUP_SIZE"
> = {
  name: "heads.turnInPlace",
  buffers: { k: "read", v: "read", positions: "read", table: "read", q: "read_write", kv: "read_write" },
  params: PARAMS,
  tuning: { WORKGROUP_SIZE: 64 },
  grid: grid(true),
  wgsl: text(true, false, true),
};

/** Gradients of `turnHeads`. */
export const turnHeadsBack: KernelSpec<
  "dqTurned" | "dkv" | "positions" | "table" | "dq" | "dk" | "dv",
  HeadsParam,
  "WORKGROUP_SIZE"
> = {
  name: "heads.turnBack",
  buffers: {
    dqTurned: "read",
    dkv: "read",
    positions: "read",
    table: "read",
    dq: "read_write",
    dk: "read_write",
    dv: "read_write",
  },
  params: PARAMS,
  tuning: { WORKGROUP_SIZE: 64 },
  grid: grid(true),
  wgsl: text(true, true),
};

/** Forward without positions: keys and values side by side. */
export const joinHeads: KernelSpec<"k" | "v" | "kv", HeadsParam, "WORKGROUP_SIZE"> = {
  name: "heads.join",
  buffers: { k: "read", v: "read", kv: "read_write" },
  params: PARAMS,
  tuning: { WORKGROUP_SIZE: 64 },
  grid: grid(false),
  wgsl: text(false, false),
};

/** Gradients of `joinHeads`. */
export const partHeads: KernelSpec<"dkv" | "dk" | "dv", HeadsParam, "WORKGROUP_SIZE"> = {
  name: "heads.part",
  buffers: { dkv: "read", dk: "read_write", dv: "read_write" },
  params: PARAMS,
  tuning: { WORKGROUP_SIZE: 64 },
  grid: grid(false),
  wgsl: text(false, true),
};
