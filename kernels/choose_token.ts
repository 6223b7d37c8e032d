/**
 * The next token of each row of logits, chosen on the device, one workgroup per row: penalties, in the order of
 * `transformers`' logits processors, then the maximum or what `sample.ts` draws.
 * @module
 */

import { defineKernel, type KernelDefinition } from "./define_kernel.ts";
import { groupsFor, type KernelSpec } from "./kernel_spec.ts";
import { MAIN, workgroupReduceSnippet } from "./snippets.ts";

/** Loop iterations of a thread for a vocabulary, at most. */
export function choiceIterations(cols: number): number {
  return 38 * groupsFor(cols, 256) + 2000; // passes over its part of the row; trees, and runs of other threads
}

type ChoiceBuffer = "logits" | "seen" | "ended" | "next" | "tokens";
type ChoiceParam = "rows" | "cols" | "step" | "padToken" | "penalty" | "presence";

/**
 * next[row] of logits [rows, cols]; `seen` marks tokens that occurred, and afterwards the chosen one. tokens is -1 for a row
 * with a NaN or +infinity among its logits, or with nothing but -infinity.
 */
export type ChoiceKernel<Params extends string = never> = KernelSpec<
  ChoiceBuffer,
  ChoiceParam | Params,
  "WORKGROUP_SIZE"
>;

/** How a kernel chooses. */
interface Choice<Params extends string>
  extends Pick<KernelDefinition<never, Params, never>, "name" | "params"> {
  /** WGSL of functions and variables of the workgroup. */
  readonly declarations?: string;
  /** WGSL statements after `rowMax` and its first place, `first`, are known to all threads. */
  readonly choose?: string;
  /** WGSL of the token's number, for the first thread. */
  readonly token: string;
}

/** The kernel that makes a choice. */
export function choiceKernel<Params extends string = never>(
  { name, params, declarations = "", choose = "", token }: Choice<Params>,
): ChoiceKernel<Params> {
  return defineKernel({
    name,
    buffers: {
      logits: "read_write f32 // [rows, cols]; penalised in place",
      seen: "read_write u32 // [rows, cols]: 1 in the prompt, 2 chosen",
      ended: "read_write u32 // [1 + endCount + rows]: how many end tokens, which, and a flag for each row",
      next: "read_write i32 // [rows]",
      tokens: "read_write i32 // [steps, rows]: this step's row is written",
    },
    params: {
      rows: "u32",
      cols: "u32",
      step: "u32",
      padToken: "u32",
      penalty: "f32",
      presence: "f32",
      ...params,
    },
    tuning: { WORKGROUP_SIZE: 256 },
    grid: (values) => [values["rows"]],
    program: /* wgsl */ `
${workgroupReduceSnippet}
${declarations}
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
${choose}
  if (lane == 0u) {
    let ends = ended[0];
    var token = min(${token}, params.cols - 1u);
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
}

/** Takes the maximum, the first one on ties. */
export const greedyTokens: ChoiceKernel = choiceKernel({ name: "greedyTokens", params: {}, token: "first" });
