/**
 * The next token of each row of logits, chosen on the device: penalties, temperature, top-k, top-p, min-p, then a draw or
 * the maximum, in the order of `transformers`' logits processors. One workgroup per row.
 *
 * Top-k and top-p keep every logit of at least a threshold, found by bisection over the bits of a float in an order
 * that integers compare (16 passes over the row for two bits each; a pass a bit would run into the loop limit of one
 * software driver at 262,144 words); ties with the threshold stay, as in `transformers`' top-k. The draw inverts the
 * cumulative distribution in the order of the vocabulary with one Philox number per row.
 * @module
 */

import { defineKernel } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { groupReduction, MAIN, philoxSnippet, workgroupReduceSnippet } from "./snippets.ts";

/** Loop iterations of a thread of `sampleTokens` for a vocabulary. */
export function sampleIterations(cols: number): number {
  return 38 * groupsFor(cols, 256) + 2000; // passes over its part of the row; trees, and runs of other threads
}

/**
 * next[row] of logits [rows, cols]; `seen` marks tokens that occurred, and afterwards the chosen one. tokens is -1 for a row
 * with a NaN or +infinity among its logits, or with nothing but -infinity.
 */
export const sampleTokens: KernelSpec<
  "logits" | "seen" | "ended" | "next" | "tokens",
  | "rows"
  | "cols"
  | "step"
  | "seedLow"
  | "seedHigh"
  | "topK"
  | "padToken"
  | "temperature"
  | "topP"
  | "minP"
  | "penalty"
  | "presence"
  | "doSample",
  "WORKGROUP_SIZE"
> = defineKernel({
  name: "sampleTokens",
  buffers: {
    logits: "read_write f32 // [rows, cols]; penalised in place",
    seen: "read_write u32 // [rows, cols]: 1 in the prompt, 2 chosen",
    ended: "read_write u32 // [endCount + 1 + rows]: see isEnd and rowEnded",
    next: "read_write i32 // [rows]",
    tokens: "read_write i32 // [steps, rows]: this step's row is written",
  },
  params: {
    rows: "u32",
    cols: "u32",
    step: "u32",
    seedLow: "u32",
    seedHigh: "u32",
    topK: "u32",
    padToken: "u32",
    temperature: "f32",
    topP: "f32",
    minP: "f32",
    penalty: "f32",
    presence: "f32",
    doSample: "u32",
  },
  tuning: { WORKGROUP_SIZE: 256 },
  grid: ({ rows }) => [rows],
  program: /* wgsl */ `
${workgroupReduceSnippet}
${philoxSnippet}

// Monotonous: a < b exactly if ordered(a) < ordered(b).
fn ordered(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}
fn fromOrdered(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}

var<workgroup> groupTriples: array<vec3f, WORKGROUP_SIZE>;
${groupReduction("groupSum3", "vec3f", "groupTriples", (a, b) => `${a} + ${b}`)}
// The next two bits of a threshold: the greatest of the candidates whose sum reaches the goal. Sums fall as keys rise.
fn nextBits(threshold: u32, bit: u32, sums: vec3f, goal: f32) -> u32 {
  let reached = vec3<bool>(sums >= vec3f(goal));
  return threshold | (select(select(select(0u, 1u, reached.x), 2u, reached.y), 3u, reached.z) << bit);
}

var<workgroup> chosen: u32;
var<workgroup> partials: array<f32, WORKGROUP_SIZE>;

${MAIN}
  let row = wid.x + wid.y * nwg.x;
  if (row >= params.rows) { return; } // uniform: all threads of a workgroup leave
  let lane = lid.x;
  let base = row * params.cols;

  // Penalties, and the row's maximum with its first place. NaN and +infinity are recognised by their bits.
  var high = -3.4028234663852886e38;
  var broken = 0.0;
  for (var i = lane; i < params.cols; i += WORKGROUP_SIZE) {
    var v = logits[base + i];
    if ((params.penalty != 1.0 || params.presence != 0.0) && seen[base + i] != 0u) {
      v = select(v / params.penalty, v * params.penalty, v < 0.0);
      if (seen[base + i] == 2u) { v -= params.presence; }
      logits[base + i] = v;
    }
    let bits = bitcast<u32>(v);
    if (bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u) { broken = 1.0; }
    high = max(high, v);
  }
  let isBad = groupMax(lane, broken) > 0.0;
  let rowMax = groupMax(lane, high);
  var place = f32(params.cols); // exact: a vocabulary is far below 2^24
  for (var i = lane; i < params.cols; i += WORKGROUP_SIZE) {
    if (logits[base + i] == rowMax) { place = min(place, f32(i)); }
  }
  let first = u32(-groupMax(lane, -place));
  let isBroken = isBad || first >= params.cols; // also where every logit is -infinity

  // Thresholds: the greatest key that at least topK logits reach; then the greatest that topP of the mass reaches.
  var threshold = 0u;
  if (params.doSample == 1u && params.topK > 0u && params.topK < params.cols) {
    for (var turn = 0u; turn < 16u; turn++) {
      let bit = 30u - 2u * turn;
      let candidates = vec3u(threshold) | (vec3u(1u, 2u, 3u) << vec3u(bit));
      var counts = vec3f(0.0);
      for (var i = lane; i < params.cols; i += WORKGROUP_SIZE) {
        counts += select(vec3f(0.0), vec3f(1.0), vec3u(ordered(logits[base + i])) >= candidates);
      }
      threshold = nextBits(threshold, bit, groupSum3(lane, counts), f32(params.topK));
    }
  }
  var mass = 0.0;
  for (var i = lane; i < params.cols; i += WORKGROUP_SIZE) {
    let v = logits[base + i];
    mass += select(0.0, exp((v - rowMax) / params.temperature), ordered(v) >= threshold);
  }
  let total = groupSum(lane, mass);
  if (params.doSample == 1u && params.topP < 1.0) {
    var nucleus = 0u;
    for (var turn = 0u; turn < 16u; turn++) {
      let bit = 30u - 2u * turn;
      let candidates = max(vec3u(nucleus) | (vec3u(1u, 2u, 3u) << vec3u(bit)), vec3u(threshold));
      var masses = vec3f(0.0);
      for (var i = lane; i < params.cols; i += WORKGROUP_SIZE) {
        let v = logits[base + i];
        let weight = exp((v - rowMax) / params.temperature);
        masses += select(vec3f(0.0), vec3f(weight), vec3u(ordered(v)) >= candidates);
      }
      nucleus = nextBits(nucleus, bit, groupSum3(lane, masses), params.topP * total);
    }
    threshold = max(threshold, nucleus);
  }
  if (params.doSample == 1u && params.minP > 0.0) {
    threshold = max(threshold, ordered(rowMax + params.temperature * log(params.minP)));
  }

  // Cumulative distribution in the order of the vocabulary: each lane a run of neighbours.
  let run = (params.cols + WORKGROUP_SIZE - 1u) / WORKGROUP_SIZE;
  let start = lane * run;
  let end = min(start + run, params.cols);
  var own = 0.0;
  for (var i = start; i < end; i++) {
    let v = logits[base + i];
    own += select(0.0, exp((v - rowMax) / params.temperature), ordered(v) >= threshold);
  }
  partials[lane] = own;
  if (lane == 0u) { chosen = first; }
  workgroupBarrier(); // partials are complete
  if (params.doSample == 1u) {
    var kept = 0.0;
    for (var i = 0u; i < WORKGROUP_SIZE; i++) { kept += partials[i]; }
    let bits = philox4x32(vec4u(row, 0u, params.step, 3u), vec2u(params.seedLow, params.seedHigh));
    var rest = uniform01(bits.x) * kept;
    for (var i = 0u; i < lane; i++) { rest -= partials[i]; }
    if (rest >= 0.0 && rest < own) {
      for (var i = start; i < end; i++) {
        let v = logits[base + i];
        let p = select(0.0, exp((v - rowMax) / params.temperature), ordered(v) >= threshold);
        if (p > 0.0) {
          chosen = i; // the last kept one, where rounding leaves a remainder
          if (rest < p) { break; }
          rest -= p;
        }
      }
    }
  }
  workgroupBarrier(); // the choice is made
  if (lane == 0u) {
    // ended: the number of end tokens, the end tokens, then a flag for each row
    let ends = ended[0];
    var token = min(chosen, params.cols - 1u);
    if (ended[1u + ends + row] == 1u) { token = params.padToken; }
    for (var i = 0u; i < ends; i++) {
      if (ended[1u + i] == token) { ended[1u + ends + row] = 1u; }
    }
    next[row] = i32(token);
    tokens[params.step * params.rows + row] = select(i32(token), -1, isBroken);
    seen[base + min(token, params.cols - 1u)] = 2u; // a padding token may lie outside
  }
}
`,
});
