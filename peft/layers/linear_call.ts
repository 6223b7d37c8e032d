/**
 * What an adapted linear layer computes, and what an adapter of one is:
 *   y = o (g (x W + sum over terms of s (xd A^T) B^T + added) + b)
 * Adapters change the parts; one function runs the whole in as few kernels as it takes.
 * @module
 */

import {
  add,
  linear,
  type LinearLayer,
  type LinearOptions,
  loraLinear,
  type LoraTerm,
  multiply,
  scale,
  type Tensor,
  type WeightLayout,
} from "../../autograd/mod.ts";
import { activations, gatedActivation, type Module, type Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { type LoraOffset, type LowRankFactors, wholeFactors } from "../state/low_rank_factors.ts";
import type { InjectionContext } from "./tuner_layer.ts";

/** One change of low rank, s (xd A^T) B^T. */
export interface LowRankTerm extends LoraTerm {
  /** Frozen factors beside A and B, which see x itself; absent: none. */
  readonly offset?: LoraOffset;
}

/** The parts of one call. */
export interface LinearCall {
  /** [..., in] */
  readonly x: Tensor;
  /** The weight, stored by `layout`; float32, or float16 if nothing changed it. */
  readonly weight: Tensor;
  /** [out], or null. */
  readonly bias: Tensor | null;
  /** How the weight is stored. */
  readonly layout: WeightLayout;
  /** Changes of low rank, in the order in which their adapters were activated. */
  readonly terms: readonly LowRankTerm[];
  /** A change of the output that is computed already, [..., out], or null. */
  readonly added: Tensor | null;
  /** Factors [out] of everything but the bias, or null. */
  readonly gain: Tensor | null;
  /** Factors [in] of x, or null. */
  readonly inputGain?: Tensor | null;
  /** Factors [out] of everything, bias included, or null. */
  readonly outputGain?: Tensor | null;
  /** Computes x W + bias in a way of its own; absent: the plain product. */
  readonly product?: (bias: Tensor | null) => Tensor;
}

/** The layer that an adapter is made for. */
export interface LinearFacts {
  /** Path of the layer, without `base_model.model.` */
  readonly path: string;
  /** Size of the last axis of the input. */
  readonly inFeatures: number;
  /** Size of the last axis of the output. */
  readonly outFeatures: number;
  /** How the base weight is stored. */
  readonly layout: WeightLayout;
  /** The base weight. */
  readonly weight: Parameter;
  /** Whether the base has a bias. */
  readonly hasBias: boolean;
}

/** One adapter of one linear layer. */
export interface LinearAdapter {
  /** What trains, by keys on disk: `hada_w1_a`, `oft_R.weight`. */
  readonly parameters: Readonly<Record<string, Parameter>>;
  /** Listed beside them, frozen and never written. */
  readonly constants?: Readonly<Record<string, Parameter>>;
  /** Modules that hold them in `peft`'s tree, by their names there; absent: each parameter is placed by its key. */
  readonly modules?: Readonly<Record<string, Module>>;
  /** Scaling at the start, for adapters whose scaling can be changed; absent: it has none. */
  readonly scaling?: number;
  /** A and B of an adapter of the LoRA family. */
  readonly factors?: LowRankFactors;
  /** Why it cannot be merged. */
  readonly mergeObstacle?: string;
  /** The call with this adapter in it; part of the gradient graph. @param scaling the one in use, 1 without any */
  apply(call: LinearCall, training: boolean, scaling: number): LinearCall;
  /** The weight [float32, stored as the base's] that gives what the adapter gives in eval mode. */
  mergedWeight(weight: Tensor, scaling: number): Tensor;
  /** The bias that gives the same; absent: merging leaves the bias alone. */
  readonly mergedBias?: (bias: Tensor, scaling: number) => Tensor;
  /** The weight [out, in] of a layer without bias and with this adapter, if that is all it computes now. */
  headWeight?(scaling: number): Tensor | null;
  /** Frees what it keeps besides parameters and modules. */
  dispose?(): void;
}

/** Makes a method's adapter for a layer. @throws {RangeError} if the configuration does not fit the layer */
export type MakeLinearAdapter<Config extends PeftConfig> = (
  config: Config,
  facts: LinearFacts,
  context: InjectionContext,
) => LinearAdapter;

/** The call as a layer with one adapter at most, if that is all it is. */
export function layerOf(call: LinearCall, given: Tensor): LinearLayer | null {
  const { x, weight, bias, layout, terms, added, gain, inputGain, outputGain, product } = call;
  const [lora = null] = terms;
  const isMore = terms.length > 1 || lora?.offset || added || gain || inputGain || outputGain || product;
  return isMore || x !== given ? null : { weight, bias, layout, lora };
}

/** A call with one more change of low rank. */
export function withTerm(call: LinearCall, term: LowRankTerm): LinearCall {
  return { ...call, terms: [term, ...call.terms] }; // adapters come last first
}

/** y + s (x A^T) B^T */
function addTerm(y: Tensor, x: Tensor, A: Tensor, B: Tensor, s: number): Tensor {
  return linear(scale(linear(x, A, null), s), B, null, { residual: y });
}

/** Whether one launch can add what the adapters add to the product. */
function isFused({ terms: [first, ...others], product }: LinearCall): boolean {
  return !product && others.length === 0 && !(first?.offset && first.xDropped);
}

/** x W with the term of one adapter at most, in one launch. */
function launchFused(call: LinearCall, bias: Tensor | null, options: LinearOptions): Tensor {
  const { weight, layout, terms: [term] } = call;
  const x = inputOf(call);
  if (!term) return linear(x, weight, bias, { layout, ...options });
  const { A, B } = wholeFactors(term);
  return loraLinear(x, weight, bias, A, B, term.s, { layout, ...options, xDropped: term.xDropped });
}

const inputOf = ({ x, inputGain }: LinearCall) => inputGain ? multiply(x, inputGain) : x;

/** y [..., out] of a call, activated or gated, and with the residual added. */
export function runLinear(call: LinearCall, options: LinearOptions): Tensor {
  const { bias, added, gain, outputGain } = call;
  const { activation, residual, gate, isRead } = options;
  const isWhole = isFused(call) && !gain && !outputGain && !(added && (activation || residual || gate));
  return isWhole
    ? launchFused(call, bias, { activation, residual: added ?? residual, gate, isRead })
    : runInSteps(call, options);
}

/** What more than one launch takes. */
function runInSteps(call: LinearCall, { activation, residual, gate }: LinearOptions): Tensor {
  const { bias, added, gain, outputGain } = call;
  const inner = gain ? null : bias;
  let y = isFused(call) ? launchFused(call, inner, { residual: added }) : addTerms(call, inner);
  if (gain) y = multiply(y, gain);
  if (gain && bias) y = add(y, bias);
  if (outputGain) y = multiply(y, outputGain);
  if (activation) y = activations[activation](y);
  if (gate) y = gatedActivation(gate.activation, gate.by, y);
  return residual ? add(y, residual) : y;
}

/** The product, and the terms of adapters one after the other. */
function addTerms(call: LinearCall, bias: Tensor | null): Tensor {
  const { weight, layout, terms, added, product } = call;
  const x = inputOf(call);
  const [first] = terms;
  const options = { layout, residual: added };
  let y: Tensor;
  if (product) {
    y = product(bias);
    if (added) y = add(y, added);
  } else if (first.offset) {
    y = loraLinear(x, weight, bias, first.offset.A, first.offset.B, first.s, options);
  } else y = linear(x, weight, bias, options);
  for (const term of terms) {
    const { A, B, s, xDropped, offset } = term;
    if (offset && (product || term !== first)) y = addTerm(y, x, offset.A, offset.B, s);
    y = addTerm(y, xDropped ?? x, A, B, s);
  }
  return y;
}
