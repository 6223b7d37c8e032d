/**
 * The next token of each row of logits, drawn on the device: temperature, top-k, top-p, min-p, then a draw, in the order of
 * `transformers`' logits processors.
 *
 * Top-k and top-p keep every logit of at least a threshold, found by bisection over the bits of a float in an order
 * that integers compare (16 passes over the row for two bits each; a pass a bit would run into the loop limit of one
 * software driver at 262,144 words); ties with the threshold stay, as in `transformers`' top-k. The draw inverts the
 * cumulative distribution in the order of the vocabulary with one Philox number per row.
 * @module
 */

import { type ChoiceKernel, choiceKernel } from "./choose_token.ts";
import { groupReduction, philoxSnippet } from "./snippets.ts";

/** What a draw is made from; as the options of `TokenSampler`. */
interface Distribution {
  readonly seed: number;
  readonly topK: number;
  readonly temperature: number;
  readonly topP: number;
  readonly minP: number;
}

/** The kernel's parameters of a distribution. */
export function drawParams({ seed, topK, temperature, topP, minP }: Distribution) {
  return { seedLow: seed >>> 0, seedHigh: Math.floor(seed / 2 ** 32), topK, temperature, topP, minP };
}

/** Draws from the distribution that the options leave. */
export const sampleTokens: ChoiceKernel<"seedLow" | "seedHigh" | "topK" | "temperature" | "topP" | "minP"> =
  choiceKernel({
    name: "sampleTokens",
    params: {
      seedLow: "u32",
      seedHigh: "u32",
      topK: "u32",
      temperature: "f32",
      topP: "f32",
      minP: "f32",
    },
    declarations: /* wgsl */ `
${philoxSnippet}

// Monotonous: a < b exactly if ordered(a) < ordered(b).
fn ordered(v: f32) -> u32 {
  let bits = bitcast<u32>(v);
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
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
`,
    choose: /* wgsl */ `
  // Thresholds: the greatest key that at least topK logits reach; then the greatest that topP of the mass reaches.
  var threshold = 0u;
  if (params.topK > 0u && params.topK < params.cols) {
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
  if (params.topP < 1.0) {
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
  if (params.minP > 0.0) {
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
  workgroupBarrier(); // the choice is made`,
    token: "chosen",
  });
