/**
 * Rules that combine several tensors into one, elementwise, in float64:
 *   linear           sum_i w_i t_i
 *   magnitude_prune  the same of each tensor's largest int(density n) elements (Yu et al. 2023, arXiv:2311.03099, fig. 3)
 *   dare_linear      the same of elements kept with probability density and divided by it (DARE, arXiv:2311.03099)
 *   ties             of the largest elements, the mean of w_i t_i over those whose sign is the majority's
 *                    (TIES, Yadav et al. 2023, arXiv:2306.01708)
 *   dare_ties        the same of elements kept at random
 * Formulas, and what counts as a majority, are those of `peft/utils/merge_utils.py`.
 * @module
 */

import type { HostRandom } from "../../autograd/mod.ts";

/**
 * Name of a rule.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { CombineRule } from "@peft/webgpu/peft";
 *
 * const config = new LoraConfig({ r: 4, targetModules: ["c_attn"], initLoraWeights: false }); // random, in place of training
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), config, "pirate");
 * model.addAdapter("poet", config);
 * for (const rule of ["linear", "ties"] satisfies CombineRule[]) { // all but linear need a density
 *   await model.addWeightedAdapter(["pirate", "poet"], [1, 1], rule, { combinationType: rule, density: 0.2 });
 *   const [, A] = [...model.namedParameters()].find(([name]) => name.endsWith(`lora_A.${rule}.weight`))!;
 *   console.log(rule, (await A.data()).filter((value) => value !== 0).length); // ties keeps the largest numbers alone
 * }
 * ```
 */
export type CombineRule = "linear" | "ties" | "dare_linear" | "dare_ties" | "magnitude_prune";

/**
 * How the sign of an element is elected.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { MajoritySignMethod } from "@peft/webgpu/peft";
 *
 * const config = new LoraConfig({ r: 1, targetModules: ["lm_head"] });
 * const model = getPeftModel(await AutoModelForCausalLM.fromPretrained("examples/demo/model"), config, "a");
 * for (const name of ["b", "c"]) model.addAdapter(name, config);
 * const factor = (name: string) => [...model.namedParameters()].find(([path]) => path.endsWith(`lora_A.${name}.weight`))![1];
 * [5, -1, -1].forEach((value, i) => factor("abc"[i]).write(new Float32Array(128).fill(value)));
 * for (const majoritySignMethod of ["total", "frequency"] satisfies MajoritySignMethod[]) {
 *   const options = { combinationType: "ties", density: 0.99, majoritySignMethod } as const;
 *   await model.addWeightedAdapter(["a", "b", "c"], [1, 1, 1], majoritySignMethod, options);
 *   console.log((await factor(majoritySignMethod).data())[0] > 0); // true: 5 is more than 1 + 1; false: two against one
 * }
 * ```
 */
export type MajoritySignMethod = "total" | "frequency";

/** What the rules need besides tensors and weights. */
export interface CombineOptions {
  /** Fraction of the elements that is kept, 0 to 1. */
  readonly density: number;
  /** "total": the sign of the sum of the elements; "frequency": the sign that more of them have. */
  readonly majoritySignMethod: MajoritySignMethod;
  /** Where DARE draws from. */
  readonly random: HostRandom;
}

/** Whether elements are dropped before they are added, and whether a sign is elected. */
export const COMBINE_RULES: Readonly<
  Record<CombineRule, { readonly prune: "none" | "magnitude" | "random"; readonly elect: boolean }>
> = {
  linear: { prune: "none", elect: false },
  ties: { prune: "magnitude", elect: true },
  dare_linear: { prune: "random", elect: false },
  dare_ties: { prune: "random", elect: true },
  magnitude_prune: { prune: "magnitude", elect: false },
};

type Values = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;

/** The int(density n) elements of largest magnitude, the others 0; of equal ones the first are kept. */
function keepLargest(values: Values, density: number): Values {
  const count = Math.floor(density * values.length);
  if (count === 0) return new Float64Array(values.length);
  const sorted = Float64Array.from(values, Math.abs).sort();
  const threshold = sorted[values.length - count];
  let ties = count - sorted.reduce((above, value) => above + (value > threshold ? 1 : 0), 0);
  return Float64Array.from(
    values,
    (value) => Math.abs(value) > threshold || Math.abs(value) === threshold && ties-- > 0 ? value : 0,
  );
}

/** Each element kept with probability `density` and divided by it. */
function keepSome(values: Values, density: number, random: HostRandom): Values {
  return Float64Array.from(values, (value) => random.uniform() < density ? value / density : 0);
}

/** One tensor of several of the same size. */
export function combineTensors(
  rule: CombineRule,
  tensors: readonly Float32Array<ArrayBuffer>[],
  weights: readonly number[],
  { density, majoritySignMethod, random }: CombineOptions,
): Float32Array<ArrayBuffer> {
  const { prune, elect } = COMBINE_RULES[rule];
  const kept = tensors.map((values): Values => {
    if (prune === "none" || density >= 1) return values;
    return prune === "magnitude" ? keepLargest(values, density) : keepSome(values, density, random);
  });
  return new Float32Array(tensors[0].length).map((_, i) => {
    let sum = 0;
    if (!elect) {
      for (let t = 0; t < kept.length; t++) sum += weights[t] * kept[t][i];
      return sum;
    }
    let balance = 0;
    for (const values of kept) balance += majoritySignMethod === "total" ? values[i] : Math.sign(values[i]);
    const majority = balance >= 0 ? 1 : -1;
    let agreeing = 0;
    for (let t = 0; t < kept.length; t++) {
      if (Math.sign(kept[t][i]) !== majority) continue;
      sum += weights[t] * kept[t][i];
      agreeing++;
    }
    return sum / Math.max(1, agreeing);
  });
}
