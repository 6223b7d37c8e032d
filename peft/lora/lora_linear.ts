/**
 * LoRA's adapter of a linear layer: A, B, a dropout, and what the variants add to them (DoRA's lengths, a bias of B,
 * factors that are subtracted from the weight).
 * @module
 */

import {
  add,
  cast,
  divide,
  linear,
  multiply,
  noGrad,
  reshape,
  scale,
  subtract,
  type Tensor,
  tidy,
  transpose,
  untracked,
} from "../../autograd/mod.ts";
import { Dropout, type Initializer, Linear, type Module, Parameter } from "../../nn/mod.ts";
import {
  type LinearAdapter,
  type LinearCall,
  type LinearFacts,
  type MakeLinearAdapter,
  withTerm,
} from "../layers/linear_call.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import type { LowRankFactors } from "../state/low_rank_factors.ts";
import { patternValue } from "../targets/targets.ts";
import { columnNorms, doraForward, DoraMagnitude } from "./dora.ts";
import type { LoraConfig } from "./lora_config.ts";
import { changedWeight, type LoraFactors } from "./lora_factors.ts";
import { loraStart } from "./lora_init.ts";

/** alpha / r of a layer, or alpha / sqrt(r) for rsLoRA. */
export function loraScaling(config: LoraConfig, path: string): number {
  const rank = patternValue(config.rankPattern, path, config.r);
  const alpha = patternValue(config.alphaPattern, path, config.loraAlpha);
  return alpha / (config.useRslora ? Math.sqrt(rank) : rank);
}

/** The numbers of a quantised weight [out, in] as a layer has its own. */
function numbersOf(base: Tensor, { layout }: LinearFacts): Tensor {
  const numbers = cast(base, "float32");
  return layout === "conv1d" ? transpose(numbers) : numbers;
}

/** Writes them over the layer's own. */
function replaceWeight(base: Tensor, facts: LinearFacts): void {
  const { weight } = facts;
  noGrad(() => tidy(() => weight.device.copy(cast(numbersOf(base, facts), weight.dtype).view, weight.view)));
}

/** The adapter's own bias at the start: 0, or random where B is. */
function biasStart(config: LoraConfig, init: Initializer, size: number, rank: number): Parameter {
  return config.initLoraWeights ? init.constant([size], 0) : init.uniform([size], 1 / Math.sqrt(rank));
}

/** A call whose layer adds a bias more. */
function withBias(call: LinearCall, bias: Tensor): LinearCall {
  return { ...call, bias: call.bias ? add(call.bias, bias) : bias };
}

/** How an adapter with a bias of its own is merged. */
function mergingOf(bias: Tensor, hasBias: boolean): Pick<LinearAdapter, "mergedBias" | "mergeObstacle"> {
  return {
    mergedBias: (base, scaling) => add(base, scale(bias, scaling)),
    mergeObstacle: hasBias
      ? undefined
      : "Impossible to merge LoRA with `lora_bias=True` because the base layer has no bias",
  };
}

class LoraLinear implements LinearAdapter {
  readonly parameters: Readonly<Record<string, Parameter>>;
  readonly modules: Readonly<Record<string, Module>>;
  readonly scaling: number;
  readonly factors: LowRankFactors;
  readonly mergeObstacle?: string;
  readonly mergedBias?: (bias: Tensor, scaling: number) => Tensor;
  readonly #facts: LinearFacts;
  readonly #dropout: Dropout;
  readonly #magnitude: Parameter | null = null;

  constructor(config: LoraConfig, facts: LinearFacts, { init, random, afterwards }: InjectionContext) {
    const { outFeatures, hasBias, path } = facts;
    const rank = patternValue(config.rankPattern, path, config.r);
    this.scaling = loraScaling(config, path);
    const { A, B, offset, base } = loraStart(config.initLoraWeights, {
      ...facts,
      rank,
      scaling: this.scaling,
      init,
      loftq: config.loftqConfig,
    });
    if (base) afterwards.push({ run: () => replaceWeight(base, facts), dispose: () => base.dispose() });
    const bias = config.loraBias ? biasStart(config, init, outFeatures, rank) : null;
    this.#facts = facts;
    this.#dropout = new Dropout(config.loraDropout, random);
    this.factors = { A, B, bias, offset, hasMagnitude: config.useDora };
    if (config.useDora) this.#magnitude = this.#magnitudeStart(base);
    const [magnitude, dropout] = [this.#magnitude, this.#dropout];
    this.modules = {
      lora_dropout: dropout,
      lora_A: new Linear(A),
      lora_B: new Linear(B, bias),
      ...(magnitude ? { lora_magnitude_vector: new DoraMagnitude(magnitude) } : {}),
    };
    this.parameters = {
      "lora_A.weight": A,
      "lora_B.weight": B,
      ...(bias ? { "lora_B.bias": bias } : {}),
      ...(magnitude ? { lora_magnitude_vector: magnitude } : {}),
    };
    if (bias) Object.assign(this, mergingOf(bias, hasBias));
  }

  /** Norms of the columns of the weight that the layer begins with; `base` where that is another one. */
  #magnitudeStart(base: Tensor | undefined): Parameter {
    const norms = () => columnNorms(this.#of(this.scaling, base && numbersOf(base, this.#facts)));
    return new Parameter(untracked(() => tidy(norms)));
  }

  /** The factors with what they belong to. */
  #of(s: number, weight: Tensor = this.#facts.weight): LoraFactors {
    return { weight, layout: this.#facts.layout, s, ...this.factors };
  }

  apply(given: LinearCall, _training: boolean, s: number): LinearCall {
    const { A, B, bias, offset } = this.factors;
    const xDropped = this.#dropout.isActive ? this.#dropout.forward(given.x) : null;
    const call = bias ? withBias(given, scale(bias, s)) : given;
    if (this.#magnitude) return this.#withDora(call, this.#magnitude, s, xDropped);
    return withTerm(call, { A, B, s, xDropped, offset });
  }

  /** DoRA makes the product itself; beside another adapter that does, it adds its difference from the plain product. */
  #withDora(call: LinearCall, magnitude: Parameter, s: number, xDropped: Tensor | null): LinearCall {
    const { x, weight, layout } = call;
    const product = (bias: Tensor | null) => doraForward(x, bias, this.#of(s), magnitude, xDropped);
    if (!call.product) return { ...call, product };
    const own = subtract(product(null), linear(x, weight, null, { layout }));
    return { ...call, added: call.added ? add(call.added, own) : own };
  }

  mergedWeight(weight: Tensor, s: number): Tensor {
    const factors = this.#of(s, weight);
    const merged = changedWeight(factors);
    if (!this.#magnitude) return merged;
    const g = divide(this.#magnitude, columnNorms(factors)); // [out]
    return multiply(merged, this.#facts.layout === "conv1d" ? g : reshape(g, [g.size, 1]));
  }

  /** W + s B A, [out, in]. */
  headWeight(s: number): Tensor | null {
    const isPlain = !this.#magnitude && !this.factors.bias && !this.#dropout.isActive;
    return isPlain ? changedWeight(this.#of(s)) : null;
  }

  dispose(): void {
    this.factors.offset?.A.dispose();
    this.factors.offset?.B.dispose();
  }
}

/** Makes LoRA's adapter of a layer. @throws {RangeError} if the rank does not fit it */
export const makeLoraLinear: MakeLinearAdapter<LoraConfig> = (config, facts, context) =>
  new LoraLinear(config, facts, context);

/** Initial values that do not depend on the weight. */
const PLAIN_STARTS: ReadonlySet<unknown> = new Set([true, false, "gaussian"]);

/** Makes LoRA's adapter of a layer that other methods share. @throws {RangeError} for what only LoRA alone can do */
export const makeLoraBesideOthers: MakeLinearAdapter<LoraConfig> = (config, facts, context) => {
  const asked = [
    config.useDora ? "use_dora" : null,
    config.loraBias ? "lora_bias" : null,
    PLAIN_STARTS.has(config.initLoraWeights)
      ? null
      : `init_lora_weights ${JSON.stringify(config.initLoraWeights)}`,
  ].filter((each) => each !== null);
  if (asked.length > 0) {
    throw new RangeError(
      `Cannot apply lora beside other methods: a plain adapter is required, received ${asked.join(", ")}`,
    );
  }
  return makeLoraLinear(config, facts, context);
};
