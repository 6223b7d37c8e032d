/**
 * AdaLoRA (Zhang et al. 2023, arXiv:2303.10512): LoRA in the form of a singular value decomposition, whose rank is
 * distributed over the layers by importance while it trains.
 *   y = x W + b + s (drop(x) (A E)^T) B^T   with A [r, in], E [r, 1], B [out, r], s = alpha / (init_r + 1e-5)
 *   loss += orth_reg_weight mean over all A and B of |A A^T - I| and |B^T B - I| (Frobenius)
 * `peftModel.updateAndAllocate(step)` after `optimizer.step()` and before `zeroGrad()` sets the least important E to 0
 * by the budget of the step. Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21.
 * @module
 */

import { dropout, multiply, type RandomState, type Tensor, type WeightLayout } from "../../autograd/mod.ts";
import { Parameter } from "../../nn/mod.ts";
import { type LinearAdapter, type LinearCall, type LinearFacts, withTerm } from "../layers/linear_call.ts";
import { type InjectionContext, sharedPartOf } from "../layers/tuner_layer.ts";
import { changedWeight } from "../lora/lora_factors.ts";
import { AdaLoraConfig } from "./adalora_config.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { RankAllocator, type SingularFactors } from "./rank_allocator.ts";

/** What one layer holds: singular vectors and values, and what they are scaled by. */
export class AdaLoraAdapter implements LinearAdapter, SingularFactors {
  /** [r, in] */
  readonly A: Parameter;
  /** [out, r] */
  readonly B: Parameter;
  /** [r, 1] */
  readonly E: Parameter;
  readonly parameters: Readonly<Record<string, Parameter>>;
  readonly constants: Readonly<Record<string, Parameter>>;
  readonly #s: number;
  readonly #p: number;
  readonly #random: RandomState;
  readonly #layout: WeightLayout;

  /** A layer whose rank was cut already gets the rank that is left, and the scaling it had. */
  constructor(config: AdaLoraConfig, facts: LinearFacts, context: InjectionContext) {
    const { device, init, random } = context;
    const { path, inFeatures, outFeatures, layout } = facts;
    const { initR, loraAlpha, initLoraWeights, rankPattern, loraDropout } = config;
    const rank = rankPattern?.[`${path}.lora_E`]?.filter((left) => left).length ?? initR;
    const std = initLoraWeights ? 0.02 : 1;
    const make = (shape: number[], std: number) =>
      rank === 0
        ? Parameter.from(new Float32Array(0), { shape, device })
        : std === 0
        ? init.constant(shape, 0)
        : init.normal(shape, std);
    this.A = make([rank, inFeatures], std);
    this.B = make([outFeatures, rank], std);
    this.E = make([rank, 1], initLoraWeights ? 0 : 1);
    this.parameters = { lora_A: this.A, lora_B: this.B, lora_E: this.E };
    this.constants = { ranknum: init.constant([1], initR) };
    this.constants.ranknum.requiresGrad = false;
    this.#s = (loraAlpha > 0 ? loraAlpha : rank) / (initR + 1e-5);
    this.#p = loraDropout;
    this.#random = random;
    this.#layout = layout;
    sharedPartOf(context, RankAllocator).register(path, this);
  }

  /** Adds s (drop(x) (A E)^T) B^T. */
  apply(call: LinearCall, training: boolean): LinearCall {
    if (this.E.size === 0) return call;
    const xDropped = training && this.#p > 0 ? dropout(call.x, this.#p, this.#random) : null;
    return withTerm(call, { A: multiply(this.A, this.E), B: this.B, s: this.#s, xDropped });
  }

  /** W + s (B A E)^T. */
  mergedWeight(weight: Tensor): Tensor {
    if (this.E.size === 0) return weight;
    return changedWeight({
      weight,
      layout: this.#layout,
      A: multiply(this.A, this.E),
      B: this.B,
      s: this.#s,
    });
  }
}

/** AdaLoRA, for the registry. */
export const adalora: PeftMethod<AdaLoraConfig> = linearMethod({
  name: "adalora",
  peftClasses: { model: "AdaLoraModel", layer: "adalora.SVDLinear" },
  configFromJSON: (json) => AdaLoraConfig.fromJSON(json),
  conflict: (config, others) =>
    config.inferenceMode || others.every((other) => other.inferenceMode)
      ? null
      : "AdaLoraModel supports only 1 trainable adapter. When using multiple adapters, set inference_mode to True for all adapters except the one you want to train.",
  sharedPart: (config) => new RankAllocator(config),
  adapter: AdaLoraAdapter,
});
