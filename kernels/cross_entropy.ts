/**
 * Cross-entropy of logits against target ids, in three barrier-free steps, so that a row of 50,257 logits stays under
 * every driver's loop limit: statistics of row segments, the row's logsumexp and loss, and the gradient in place.
 *   loss_i = lse(logits_i) - logits_i[target_i],   dlogits_i = (softmax(logits_i) - onehot(target_i)) weight
 * Rows whose target is negative (ignore_index -100) have loss and gradient 0.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { elementKernel } from "./elements.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { keepNanSnippet, MAIN, tanhSnippet, THREAD } from "./snippets.ts";

/** Columns one thread of `crossEntropySegments` reads. */
export const SEGMENT = 512;

/** Labels [batch, length] -> targets [batch * length]: the next label of the same row, -100 at its end. */
export const shiftLabels: KernelSpec<
  "labels" | "targets" | "valid",
  "size" | "length" | "shift" | "ignore",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "shiftLabels",
  buffers: {
    labels: "read i32 // [batch, length]",
    targets: "read_write i32 // [batch, length]; -100: no target",
    valid: "read_write f32 // [batch, length]: 1 where there is a target",
  },
  params: { size: "u32", length: "u32", shift: "u32", ignore: "i32" },
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ size }, { WORKGROUP_SIZE }) => [groupsFor(size, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${MAIN}
  let i = ${THREAD};
  if (i >= params.size) { return; }
  var target_id = -100;
  if (i % params.length + params.shift < params.length) {
    let label = labels[i + params.shift];
    if (label != params.ignore) { target_id = label; }
  }
  targets[i] = target_id;
  valid[i] = select(0.0, 1.0, target_id >= 0);
}
`,
});

/** divisor[0] = count[0], or NaN for a count of 0: the mean of no losses is 0 / 0. */
export const meanDivisor: KernelSpec<"count" | "divisor"> = defineKernel({
  name: "meanDivisor",
  buffers: {
    count: "read f32 // [1]: rows with a target",
    divisor: "read_write u32 // [1]: bits",
  },
  params: {},
  tuning: {},
  grid: () => [1],
  program: /* wgsl */ `
@compute @workgroup_size(1)
fn main() { divisor[0] = select(0x7fc00000u, bitcast<u32>(count[0]), count[0] > 0.0); }
`,
});

/** Buffers and parameters of the statistics of row segments. */
type SegmentsKernel<Buffers extends string> = KernelSpec<
  Buffers,
  "rows" | "cols" | "stride" | "segmentCount",
  "WORKGROUP_SIZE"
>;

const segmentsText = (weighs: boolean) => /* wgsl */ `
${keepNanSnippet}
${MAIN}
  let i = ${THREAD};
  if (i >= params.rows * params.segmentCount) { return; }
  let row = i / params.segmentCount;
  let first = (i % params.segmentCount) * ${SEGMENT}u;
  let base = row * params.stride;
  let last = min(first + ${SEGMENT}u, params.cols);
  var high = -3.4028234663852886e38; // not the first logit: a segment of -infinity alone counts for nothing
  for (var j = first; j < last; j++) { high = max(high, logits[base + j]); }
  var total = 0.0;
${
  weighs
    ? `  var weight = 0.0;
  for (var j = first; j < last; j++) {
    let d = logits[base + j] - high;
    let e = expKeep(d);
    total += e;
    if (e > 0.0) { weight += e * d; } // not 0 times -infinity
  }
  weighted[i] = weight;`
    : "  for (var j = first; j < last; j++) { total += expKeep(logits[base + j] - high); }"
}
  segments[i] = vec2f(high, total);
}
`;

const SEGMENTS_BUFFERS = {
  logits: "read f32 // [rows, cols], rows of stride",
  segments: "read_write vec2f // [rows, segmentCount]: maximum, sum",
} as const;

const SEGMENTS_SHAPE = {
  params: { rows: "u32", cols: "u32", stride: "u32", segmentCount: "u32" },
  tuning: { WORKGROUP_SIZE: 16 },
  grid: (
    { rows, segmentCount }: Readonly<Record<"rows" | "cols" | "stride" | "segmentCount", number>>,
    { WORKGROUP_SIZE }: { readonly WORKGROUP_SIZE: number },
  ) => [groupsFor(rows * segmentCount, WORKGROUP_SIZE)] as const,
} as const;

/** Maximum, and sum of exp(logit - maximum), of each row segment. */
export const crossEntropySegments: SegmentsKernel<"logits" | "segments"> = defineKernel({
  name: "crossEntropySegments",
  ...SEGMENTS_SHAPE,
  buffers: SEGMENTS_BUFFERS,
  program: segmentsText(false),
});

/** The same, and beside it the sum of exp(d) d, d = logit - maximum: what the entropy of a row is made of. */
export const crossEntropyWeighted: SegmentsKernel<"logits" | "segments" | "weighted"> = defineKernel({
  name: "crossEntropyWeighted",
  ...SEGMENTS_SHAPE,
  buffers: { ...SEGMENTS_BUFFERS, weighted: "read_write f32 // [rows, segmentCount]" },
  program: segmentsText(true),
});

/** lse and loss of each row; losses are divided by divisor[0] and 0 for rows without a target. */
export const crossEntropyRows: KernelSpec<
  "logits" | "targets" | "segments" | "divisor" | "lse" | "losses",
  "rows" | "cols" | "stride" | "segmentCount",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "crossEntropyRows",
  buffers: {
    logits: "read f32 // [rows, cols], rows of stride",
    targets: "read i32 // [rows]",
    segments: "read vec2f // [rows, segmentCount]",
    divisor: "read f32 // [1]; NaN where no row counts",
    lse: "read_write f32 // [rows]",
    losses: "read_write f32 // [rows]",
  },
  params: { rows: "u32", cols: "u32", stride: "u32", segmentCount: "u32" },
  tuning: { WORKGROUP_SIZE: 16 },
  grid: ({ rows }, { WORKGROUP_SIZE }) => [groupsFor(rows, WORKGROUP_SIZE)],
  program: /* wgsl */ `
${keepNanSnippet}

${MAIN}
  let row = ${THREAD};
  if (row >= params.rows) { return; }
  let base = row * params.segmentCount;
  var high = segments[base].x;
  for (var i = 1u; i < params.segmentCount; i++) { high = max(high, segments[base + i].x); }
  var total = 0.0;
  for (var i = 0u; i < params.segmentCount; i++) {
    total += segments[base + i].y * expKeep(segments[base + i].x - high);
  }
  let logTotal = logKeep(total);
  lse[row] = high + logTotal;
  let label = targets[row];
  var loss = select(0.0, divisor[0], (bitcast<u32>(divisor[0]) & 0x7fffffffu) > 0x7f800000u);
  // The difference of two logits is exact where lse - logit has lost bits already, and dividing each row leaves no
  // common rounding error as a factor 1 / divisor would.
  if (label >= 0) { loss = (logTotal + (high - logits[row * params.stride + u32(label)])) / divisor[0]; }
  losses[row] = loss;
}
`,
});

/** logits become c tanh(logits / c), in place. */
export const capLogits: KernelSpec<"logits", "size" | "cap", "WORKGROUP_SIZE"> = elementKernel({
  name: "capLogits",
  buffers: {
    logits: "read_write f32 // [size]",
  },
  params: { size: "u32", cap: "f32" },
  functions: tanhSnippet,
  each: "logits[i] = params.cap * tanhOwn(logits[i] / params.cap);",
});

/** logits become their gradient; of capped logits that of what was capped: d (1 - (logit / cap)^2). */
export const crossEntropyGradient: KernelSpec<
  "logits" | "targets" | "lse" | "divisor",
  "rows" | "cols" | "stride" | "cap",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "crossEntropyGradient",
  buffers: {
    logits: "read_write f32 // [rows, cols], rows of stride",
    targets: "read i32 // [rows]",
    lse: "read f32 // [rows]",
    divisor: "read f32 // [1]",
  },
  params: { rows: "u32", cols: "u32", stride: "u32", cap: "f32" }, // cap 0: logits are not capped
  tuning: { WORKGROUP_SIZE: 64 },
  grid: ({ rows, cols }, { WORKGROUP_SIZE }) => [rows * groupsFor(cols, 4 * WORKGROUP_SIZE)],
  program: /* wgsl */ `
${keepNanSnippet}

${MAIN}
  let groups = (params.cols + 4u * WORKGROUP_SIZE - 1u) / (4u * WORKGROUP_SIZE); // workgroups per row
  let group = wid.x + wid.y * nwg.x;
  let row = group / groups;
  if (row >= params.rows) { return; }
  let first = (group % groups * WORKGROUP_SIZE + lid.x) * 4u;
  let label = targets[row];
  let factor = select(0.0, 1.0 / divisor[0], label >= 0);
  let shift = lse[row];
  for (var col = first; col < min(first + 4u, params.cols); col++) {
    let at = row * params.stride + col;
    let hit = select(0.0, 1.0, i32(col) == label);
    let logit = logits[at];
    var d = (expKeep(logit - shift) - hit) * factor;
    if (params.cap > 0.0) { d *= 1.0 - (logit / params.cap) * (logit / params.cap); }
    logits[at] = d;
  }
}
`,
});
