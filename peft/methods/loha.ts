/**
 * LoHa (Hyeon-Woo et al. 2022, arXiv:2108.06098, as LyCORIS has it): the change of a weight is the elementwise product of
 * two matrices of low rank.
 *   dW = alpha / r (w1_a w1_b) * (w2_a w2_b)   with w_a [out, r], w_b [r, in];   y = x (W + dW^T) + b
 * As a sum, it has rank r^2: dW = B A with A [r r, in] and B [out, r r] of products of rows and columns; up to r^2 = in
 * and out that takes less work than dW.
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21, whose own does not take GPT-2's
 * Conv1D (https://github.com/huggingface/peft/issues/3767): here it does, as if it were the Linear it stands for.
 * @module
 */

import { add, matmul, multiply, reshape, scale, type Tensor } from "../../autograd/mod.ts";
import type { Parameter } from "../../nn/mod.ts";
import { type LinearAdapter, type LinearCall, type LinearFacts, withTerm } from "../layers/linear_call.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import { patternValue } from "../targets/targets.ts";
import { LoHaConfig } from "./loha_config.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { addToWeight, type ChangeDropout, dropFactors } from "./weight_change.ts";

/** Four factors of one layer. */
class LoHaAdapter implements LinearAdapter {
  readonly parameters: Readonly<
    Record<"hada_w1_a" | "hada_w1_b" | "hada_w2_a" | "hada_w2_b", Parameter>
  >;
  readonly #s: number;
  readonly #facts: LinearFacts;
  readonly #dropout: ChangeDropout;

  constructor(config: LoHaConfig, facts: LinearFacts, { init, random }: InjectionContext) {
    const { path, inFeatures, outFeatures } = facts;
    const r = patternValue(config.rankPattern, path, config.r);
    const uniform = (rows: number, cols: number) => init.uniform([rows, cols], 1 / Math.sqrt(cols));
    this.parameters = {
      hada_w1_a: uniform(outFeatures, r),
      hada_w1_b: uniform(r, inFeatures),
      hada_w2_a: uniform(outFeatures, r),
      hada_w2_b: config.initWeights ? init.constant([r, inFeatures], 0) : uniform(r, inFeatures),
    };
    this.#s = patternValue(config.alphaPattern, path, config.alpha) / r;
    this.#facts = facts;
    this.#dropout = { rank: config.rankDropout, rankScale: true, module: config.moduleDropout, random };
  }

  /** dW, stored as the base weight. */
  #change(): Tensor {
    const { hada_w1_a: a1, hada_w1_b: b1, hada_w2_a: a2, hada_w2_b: b2 } = this.parameters;
    const both = { transposeA: true, transposeB: true };
    const [left, right] = this.#facts.layout === "conv1d"
      ? [matmul(b1, a1, both), matmul(b2, a2, both)] // [in, out]
      : [matmul(a1, b1), matmul(a2, b2)]; // [out, in]
    return scale(multiply(left, right), this.#s);
  }

  /** dW as a product of two matrices of rank r^2. */
  #factors(): { A: Tensor; B: Tensor } {
    const { hada_w1_a: a1, hada_w1_b: b1, hada_w2_a: a2, hada_w2_b: b2 } = this.parameters;
    const [r, inFeatures] = b1.shape;
    const [outFeatures] = a1.shape;
    const rows = multiply(reshape(b1, [r, 1, inFeatures]), reshape(b2, [1, r, inFeatures]));
    const columns = multiply(reshape(a1, [outFeatures, r, 1]), reshape(a2, [outFeatures, 1, r]));
    return { A: reshape(rows, [r * r, inFeatures]), B: reshape(columns, [outFeatures, r * r]) };
  }

  apply(call: LinearCall, training: boolean): LinearCall {
    const { layout, inFeatures, outFeatures } = this.#facts;
    const r = this.parameters.hada_w1_b.shape[0];
    const factors = training ? dropFactors(outFeatures, this.#dropout) : null; // [out] or [1]
    if (r * r > Math.min(inFeatures, outFeatures)) {
      const change = this.#change();
      if (!factors) return addToWeight(call, change);
      return addToWeight(call, multiply(change, layout === "conv1d" ? factors : reshape(factors, [-1, 1])));
    }
    const { A, B } = this.#factors();
    const own = factors ? multiply(B, reshape(factors, [-1, 1])) : B;
    return withTerm(call, { A, B: own, s: this.#s, xDropped: null });
  }

  mergedWeight(weight: Tensor): Tensor {
    return add(weight, this.#change());
  }
}

/** LoHa, for the registry. */
export const loha: PeftMethod<LoHaConfig> = linearMethod({
  name: "loha",
  peftClasses: { model: "LoHaModel" },
  configFromJSON: (json) => LoHaConfig.fromJSON(json),
  adapter: LoHaAdapter,
});
