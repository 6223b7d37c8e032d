/**
 * (IA)^3's adapter of a linear layer: factors of its inputs or of its outputs.
 * @module
 */

import { full, multiply, reshape, type Tensor, untracked } from "../../autograd/mod.ts";
import { Parameter } from "../../nn/mod.ts";
import type { LinearAdapter, LinearCall, LinearFacts, MakeLinearAdapter } from "../layers/linear_call.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import { matchesTarget } from "../targets/targets.ts";
import type { IA3Config } from "./ia3_config.ts";

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

/** Makes a layer's adapter. */
export const makeIA3Adapter: MakeLinearAdapter<IA3Config> = (config, facts, context) =>
  new IA3Linear(config, facts, context);
