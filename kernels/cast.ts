/**
 * Conversions between element types. float16 is stored packed, two halves a word, first element in the low half.
 * @module
 */

import { groupsFor, type KernelSpec } from "./kernel_spec.ts";

const grid = ({ size }: { readonly size: number }, { WORKGROUP_SIZE }: { readonly WORKGROUP_SIZE: number }) =>
  [groupsFor(Math.ceil(size / 2), WORKGROUP_SIZE)] as const;

type CastKernel = KernelSpec<"x" | "y", "size", "WORKGROUP_SIZE">;

function castKernel(name: string, from: string, to: string, body: string): CastKernel {
  return {
    name,
    buffers: { x: "read", y: "read_write" },
    params: { size: "u32" },
    tuning: { WORKGROUP_SIZE: 64 },
    grid,
    wgsl: /* wgsl */ `
override WORKGROUP_SIZE: u32 = 64u;
struct Params { size: u32 }
@group(0) @binding(0) var<storage, read> x: array<${from}>; // [size], a float16 array packed in pairs
@group(0) @binding(1) var<storage, read_write> y: array<${to}>; // [size], likewise
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(num_workgroups) nwg: vec3u,
  @builtin(local_invocation_id) lid: vec3u) {
  let pair = (wid.x + wid.y * nwg.x) * WORKGROUP_SIZE + lid.x;
  let i = pair * 2u;
  if (i >= params.size) { return; }
  ${body}
}
`,
  };
}

/** y = x rounded to half precision, to nearest even; beyond 65504 it is infinite. */
export const floatToHalf: CastKernel = castKernel(
  "floatToHalf",
  "f32",
  "u32",
  `var second = 0.0;
  if (i + 1u < params.size) { second = x[i + 1u]; }
  y[pair] = toHalf(x[i]) | (toHalf(second) << 16u);
}
// By integer arithmetic: pack2x16float's rounding is the driver's choice.
fn toHalf(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  let signBit = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return signBit | 0x7e00u; }
  if (magnitude >= 0x477ff000u) { return signBit | 0x7c00u; }
  if (magnitude < 0x33000001u) { return signBit; }
  let exponent = magnitude >> 23u;
  if (exponent < 113u) { // below 2^-14: a subnormal half
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let shift = 126u - exponent;
    let kept = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    return signBit | (kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u)));
  }
  let rebased = magnitude - (112u << 23u);
  let rest = rebased & 0x1fffu;
  let kept = rebased >> 13u;
  return signBit | (kept + select(0u, 1u, rest > 0x1000u || (rest == 0x1000u && (kept & 1u) == 1u)));`,
);

/** y = x widened from half precision. */
export const halfToFloat: CastKernel = castKernel(
  "halfToFloat",
  "u32",
  "f32",
  `let both = unpack2x16float(x[pair]);
  y[i] = both.x;
  if (i + 1u < params.size) { y[i + 1u] = both.y; }`,
);

/** y = x as a float. */
export const intToFloat: CastKernel = castKernel(
  "intToFloat",
  "i32",
  "f32",
  `y[i] = f32(x[i]);
  if (i + 1u < params.size) { y[i + 1u] = f32(x[i + 1u]); }`,
);

/** y = x truncated towards zero. */
export const floatToInt: CastKernel = castKernel(
  "floatToInt",
  "f32",
  "i32",
  `y[i] = i32(x[i]);
  if (i + 1u < params.size) { y[i + 1u] = i32(x[i + 1u]); }`,
);
