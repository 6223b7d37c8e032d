/**
 * Rotary position embeddings (Su et al. 2021, arXiv:2104.09864) in Hugging Face's order: element i of a head's first half
 * turns with element i of its second half, by the angle that `table` has for the token's position.
 *   y_i = x_i cos - x_j sin,   y_j = x_j cos + x_i sin,   j = i + D / 2
 * Backward turns the other way. Cosines come from the host: WGSL promises `cos` for small angles alone.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

/** y = x [tokens, heads D] turned; `sign` is 1, or -1 to turn back. */
export const rotaryKernel: KernelSpec<
  "x" | "positions" | "table" | "y",
  "tokens" | "positionCount" | "heads" | "half" | "sign",
  "WORKGROUP_SIZE"
> = {
  name: "rotary",
  buffers: { x: "read", positions: "read", table: "read", y: "read_write" },
  params: { tokens: "u32", positionCount: "u32", heads: "u32", half: "u32", sign: "f32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: (
    { tokens, heads, half },
    { WORKGROUP_SIZE },
  ) => [groupsFor(tokens * heads * half, WORKGROUP_SIZE)],
  wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { tokens: u32, positionCount: u32, heads: u32, half: u32, sign: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>; // [tokens, heads, 2, half]
@group(0) @binding(1) var<storage, read> positions: array<i32>; // [positionCount], repeated over the tokens
@group(0) @binding(2) var<storage, read> table: array<f32>; // [length, 2, half]: cosines, sines
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // as x
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let pair = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  if (pair >= params.tokens * params.heads * params.half) { return; }
  let i = pair % params.half;
  let head = pair / params.half; // of all tokens' heads
  let position = u32(positions[(head / params.heads) % params.positionCount]);
  let cosine = table[2u * position * params.half + i];
  let sine = params.sign * table[(2u * position + 1u) * params.half + i];
  let first = 2u * head * params.half + i;
  let second = first + params.half;
  let a = x[first];
  let b = x[second];
  y[first] = a * cosine - b * sine;
  y[second] = b * cosine + a * sine;
}
`,
};
