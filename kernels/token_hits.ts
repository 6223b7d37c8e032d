/**
 * How many rows of logits have their target as the largest: token accuracy, beside the loss of the same rows.
 * @module
 */

import type { KernelSpec } from "./kernel_spec.ts";

const WORKGROUP = 64;

/** Adds to hits[0] the rows whose target's logit is the largest, and to hits[1] the rows that have a target. */
export const tokenHits: KernelSpec<
  "logits" | "targets" | "segments" | "hits",
  "rows" | "stride" | "segmentCount"
> = {
  name: "tokenHits",
  buffers: { logits: "read", targets: "read", segments: "read", hits: "read_write" },
  params: { rows: "u32", stride: "u32", segmentCount: "u32" },
  tuning: {},
  grid: () => [1],
  wgsl: /* wgsl */ `
struct Params { rows: u32, stride: u32, segmentCount: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, ...], rows of stride
@group(0) @binding(1) var<storage, read> targets: array<i32>; // [rows]; negative: none
@group(0) @binding(2) var<storage, read> segments: array<vec2f>; // [rows, segmentCount]: largest logit, ...
@group(0) @binding(3) var<storage, read_write> hits: array<u32>; // [2]
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> sums: array<vec2u, ${WORKGROUP}>;

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(local_invocation_id) lid: vec3u) {
  var sum = vec2u(0u);
  for (var row = lid.x; row < params.rows; row += ${WORKGROUP}u) {
    let label = targets[row];
    if (label < 0) { continue; }
    let base = row * params.segmentCount;
    var high = segments[base].x;
    for (var i = 1u; i < params.segmentCount; i++) { high = max(high, segments[base + i].x); }
    sum += vec2u(select(0u, 1u, logits[row * params.stride + u32(label)] >= high), 1u);
  }
  sums[lid.x] = sum;
  for (var half = ${WORKGROUP / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lid.x < half) { sums[lid.x] += sums[lid.x + half]; }
  }
  workgroupBarrier();
  if (lid.x == 0u) {
    hits[0] += sums[0].x;
    hits[1] += sums[0].y;
  }
}
`,
};
