/**
 * What a training reports of its tokens beside their loss, from logits while they exist: how many rows have a target, how
 * many of those have it as the largest logit, and the entropy of their distributions,
 *   H = log(sum_j e^d_j) - sum_j e^d_j d_j / sum_j e^d_j,   d_j = logit_j - largest logit
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { keepNanSnippet, MAIN, THREAD } from "./snippets.ts";

/** Numbers that are counted: targets, hits, entropies. */
export const TOKEN_STATS = 3;

const WORKGROUP = 64;

/** The three numbers of each row, 0 for a row without a target. */
export const tokenStats: KernelSpec<
  "logits" | "targets" | "segments" | "weighted" | "stats",
  "rows" | "stride" | "segmentCount",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "tokenStats",
  buffers: {
    logits: "read f32 // [rows, ...], rows of stride",
    targets: "read i32 // [rows]; negative: none",
    segments: "read vec2f // [rows, segmentCount]: maximum, sum",
    weighted: "read f32 // [rows, segmentCount]",
    stats: `read_write f32 // [${TOKEN_STATS}, rows]`,
  },
  params: { rows: "u32", stride: "u32", segmentCount: "u32" },
  tuning: { WORKGROUP_SIZE: 16 },
  grid: ({ rows }, { WORKGROUP_SIZE }) => [groupsFor(rows, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${keepNanSnippet}

${MAIN}
  let row = ${THREAD};
  if (row >= params.rows) { return; }
  let label = targets[row];
  var own = vec3f(0.0);
  if (label >= 0) {
    let base = row * params.segmentCount;
    var high = segments[base].x;
    for (var i = 1u; i < params.segmentCount; i++) { high = max(high, segments[base + i].x); }
    var total = 0.0;
    var weight = 0.0;
    for (var i = 0u; i < params.segmentCount; i++) {
      let d = segments[base + i].x - high;
      let e = expKeep(d);
      if (e > 0.0) { // not 0 times -infinity
        total += e * segments[base + i].y;
        weight += e * (weighted[base + i] + d * segments[base + i].y);
      }
    }
    let hit = select(0.0, 1.0, logits[row * params.stride + u32(label)] >= high);
    own = vec3f(1.0, hit, logKeep(total) - weight / total);
  }
  stats[row] = own.x;
  stats[params.rows + row] = own.y;
  stats[2u * params.rows + row] = own.z;
}
`,
});

/** Adds the numbers of all rows to those of rows before. */
export const addTokenStats: KernelSpec<"stats" | "sums", "rows"> = defineKernel({
  name: "addTokenStats",
  buffers: {
    stats: `read f32 // [${TOKEN_STATS}, rows]`,
    sums: `read_write f32 // [${TOKEN_STATS}]`,
  },
  params: { rows: "u32" },
  tuning: {},
  grid: () => [TOKEN_STATS],
  program: /* wgsl */ `
var<workgroup> parts: array<f32, ${WORKGROUP}>;

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_id) lid: vec3u) {
  if (wid.x >= ${TOKEN_STATS}u) { return; }
  var sum = 0.0;
  for (var row = lid.x; row < params.rows; row += ${WORKGROUP}u) { sum += stats[wid.x * params.rows + row]; }
  parts[lid.x] = sum;
  for (var half = ${WORKGROUP / 2}u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lid.x < half) { parts[lid.x] += parts[lid.x + half]; }
  }
  workgroupBarrier();
  if (lid.x == 0u) { sums[wid.x] += parts[0]; }
}
`,
});
