/**
 * (IA)^3 (Liu et al. 2022, arXiv:2205.05638): learned factors of a layer's outputs, or of a feed-forward layer's inputs.
 *   output side: y = (x W + b) l      feed-forward side: y = (x l) W + b
 * Factors start at 1, so a fresh adapter changes nothing. Fields and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { full, multiply, reshape, type Tensor, untracked } from "../../autograd/mod.ts";
import { Parameter } from "../../nn/mod.ts";
import type { LinearAdapter, LinearCall, LinearFacts } from "../layers/linear_call.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import { defaultFeedforward } from "../targets/default_targets.ts";
import { matchesTarget } from "../targets/targets.ts";
import { IA3Config } from "./ia3_config.ts";
import { linearMethod, type PeftMethod } from "./method.ts";

class IA3Linear implements LinearAdapter {
  /** [1, in] of inputs, or [out, 1] of outputs. */
  readonly parameters: { readonly ia3_l: Parameter };
  readonly mergedBias?: (bias: Tensor) => Tensor;
  readonly #scalesInput: boolean;
  /** Whether factors of the stored weight's rows are wanted, not of its columns. */
  readonly #alongRows: boolean;

  constructor(config: IA3Config, facts: LinearFacts, { device, init }: InjectionContext) {
    const { path, inFeatures, outFeatures, layout } = facts;
    this.#scalesInput = matchesTarget(path, config.feedforwardModules ?? []);
    this.#alongRows = this.#scalesInput === (layout === "conv1d");
    const shape = this.#scalesInput ? [1, inFeatures] : [outFeatures, 1];
    const ones = () => new Parameter(untracked(() => full(device, shape, 1)));
    this.parameters = { ia3_l: config.initIa3Weights ? ones() : init.normal(shape, 1) };
    if (!this.#scalesInput) this.mergedBias = (bias) => multiply(bias, this.#row());
  }

  /** The factors, [in] or [out]. */
  #row(): Tensor {
    const { ia3_l: l } = this.parameters;
    return reshape(l, [l.size]);
  }

  apply(call: LinearCall): LinearCall {
    const name = this.#scalesInput ? "inputGain" : "outputGain";
    const [own, others] = [this.#row(), call[name]];
    return { ...call, [name]: others ? multiply(others, own) : own };
  }

  mergedWeight(weight: Tensor): Tensor {
    const row = this.#row();
    return multiply(weight, this.#alongRows ? reshape(row, [row.size, 1]) : row);
  }
}

/** (IA)^3, for the registry. */
export const ia3: PeftMethod<IA3Config> = linearMethod({
  name: "ia3",
  resolve: ({ feedforwardModules, targetModules }, modelType) => {
    const names = defaultFeedforward(modelType);
    if (feedforwardModules !== null || !names) return {};
    return { feedforwardModules: targetModules === null ? names : [] };
  },
  configFromJSON: (json) => IA3Config.fromJSON(json),
  adapter: IA3Linear,
  linear: undefined, // `peft` does not mix it with other methods
});
