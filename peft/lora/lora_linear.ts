/**
 * A LoRA adapter as one of several methods' on a layer: A, B and dropout, without what `LoraLayer` does for the layer as
 * a whole (DoRA, biases of B, starts taken off the weight).
 * @module
 */

import type { LinearAdapter, LinearFacts, MakeLinearAdapter } from "../adapted_linear.ts";
import { add, matmul, scale, type Tensor } from "../../autograd/mod.ts";
import { Dropout, type Parameter } from "../../nn/mod.ts";
import type { LinearCall } from "../linear_call.ts";
import type { LoraConfig } from "./lora_config.ts";
import type { InjectionContext } from "../method.ts";
import { patternValue } from "../targets.ts";

/** Initial values that need nothing of the weight. */
const STARTS: ReadonlySet<unknown> = new Set([true, false, "gaussian"]);

class LoraLinear implements LinearAdapter {
  readonly parameters: Readonly<Record<"lora_A.weight" | "lora_B.weight", Parameter>>;
  readonly #s: number;
  readonly #facts: LinearFacts;
  readonly #dropout: Dropout;

  constructor(config: LoraConfig, facts: LinearFacts, { init, random }: InjectionContext) {
    const { path, inFeatures, outFeatures } = facts;
    const r = patternValue(config.rankPattern, path, config.r);
    const alpha = patternValue(config.alphaPattern, path, config.loraAlpha);
    const bound = 1 / Math.sqrt(r);
    this.parameters = {
      "lora_A.weight": config.initLoraWeights === "gaussian"
        ? init.normal([r, inFeatures], 1 / r)
        : init.uniform([r, inFeatures], 1 / Math.sqrt(inFeatures)),
      "lora_B.weight": config.initLoraWeights === false
        ? init.uniform([outFeatures, r], bound)
        : init.constant([outFeatures, r], 0),
    };
    this.#s = alpha / (config.useRslora ? Math.sqrt(r) : r);
    this.#facts = facts;
    this.#dropout = new Dropout(config.loraDropout, random);
  }

  apply(call: LinearCall, training: boolean): LinearCall {
    const { "lora_A.weight": A, "lora_B.weight": B } = this.parameters;
    const xDropped = training && this.#dropout.p > 0 ? this.#dropout.forward(call.x) : null;
    return { ...call, terms: [...call.terms, { A, B, s: this.#s, xDropped }] };
  }

  mergedWeight(weight: Tensor): Tensor {
    const { "lora_A.weight": A, "lora_B.weight": B } = this.parameters;
    const both = { transposeA: true, transposeB: true };
    const change = this.#facts.layout === "conv1d" ? matmul(A, B, both) : matmul(B, A); // [in, out] or [out, in]
    return add(weight, scale(change, this.#s));
  }
}

/** Makes LoRA's adapter of a layer that other methods share. @throws {RangeError} for what only LoRA alone can do */
export const makeLoraLinear: MakeLinearAdapter<LoraConfig> = (config, facts, context) => {
  const asked = [
    config.useDora ? "use_dora" : null,
    config.loraBias ? "lora_bias" : null,
    STARTS.has(config.initLoraWeights) ? null : `init_lora_weights ${JSON.stringify(config.initLoraWeights)}`,
  ].filter((each) => each !== null);
  if (asked.length > 0) {
    throw new RangeError(
      `Cannot apply lora beside other methods: a plain adapter is required, received ${asked.join(", ")}`,
    );
  }
  return new LoraLinear(config, facts, context);
};
