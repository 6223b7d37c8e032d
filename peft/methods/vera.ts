/**
 * VeRA (Kopiczko et al. 2024, arXiv:2310.11454): two random matrices that all layers share, and two trained vectors per
 * layer.
 *   y = x W + b + lambda_b ((drop(x) A^T lambda_d) B^T)   with A [r, in], B [out, r] frozen
 * Fields, defaults, initial values and keys are those of Hugging Face's `peft` 0.21; A and B are the numbers PyTorch
 * draws, so a file without them (`saveProjection: false`) loads.
 * @module
 */

import {
  type Device,
  dropout,
  multiply,
  type RandomState,
  reshape,
  slice,
  type Tensor,
  TorchGenerator,
} from "../../autograd/mod.ts";
import { type Module, Parameter, type Projection } from "../../nn/mod.ts";
import { type LinearAdapter, type LinearCall, type LinearFacts, withTerm } from "../layers/linear_call.ts";
import { type InjectionContext, type SharedPart, sharedPartOf } from "../layers/tuner_layer.ts";
import { changedWeight } from "../lora/lora_factors.ts";
import { linearMethod, type PeftMethod } from "./method.ts";
import { VeraConfig } from "./vera_config.ts";

/** Kaiming's bound for relu (He et al. 2015): sqrt(2) sqrt(3 / fan_in), in `peft`'s order of operations. */
const boundOf = (fanIn: number) => Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(fanIn));

/** A and B of one adapter, as large as its largest layer needs them. */
export class VeraProjections implements SharedPart {
  /** [r, largest in] */
  readonly A: Parameter;
  /** [largest out, r] */
  readonly B: Parameter;
  readonly shared: ReadonlyMap<string, Parameter>;

  /** Draws A, then B, as PyTorch does from this seed. */
  constructor(
    { r, projectionPrngKey, saveProjection }: VeraConfig,
    targets: ReadonlyMap<string, Module>,
    device: Device,
  ) {
    const generator = new TorchGenerator(projectionPrngKey);
    const draw = (rows: number, cols: number) => {
      const data = generator.uniform(rows * cols, boundOf(cols));
      const parameter = Parameter.from(data, { shape: [rows, cols], device });
      parameter.requiresGrad = false;
      return parameter;
    };
    const layers = [...targets.values()] as Projection[];
    this.A = draw(r, Math.max(...layers.map(({ inFeatures }) => inFeatures)));
    this.B = draw(Math.max(...layers.map(({ outFeatures }) => outFeatures)), r);
    this.shared = new Map(
      saveProjection ? [["base_model.vera_A", this.A], ["base_model.vera_B", this.B]] : [],
    );
  }

  /** Frees their memory. */
  dispose(): void {
    this.A.dispose();
    this.B.dispose();
  }
}

/** The first `size` rows or columns of a matrix; the matrix itself where it has no more. */
function first(matrix: Tensor, axis: 0 | 1, size: number): Tensor {
  return matrix.shape[axis] === size ? matrix : slice(matrix, axis, 0, size);
}

/** Two vectors of one layer. */
class VeraAdapter implements LinearAdapter {
  readonly parameters: { readonly vera_lambda_b: Parameter; readonly vera_lambda_d: Parameter };
  readonly #facts: LinearFacts;
  readonly #projections: VeraProjections;
  readonly #p: number;
  readonly #random: RandomState;

  constructor(config: VeraConfig, facts: LinearFacts, context: InjectionContext) {
    const { init } = context;
    this.parameters = {
      vera_lambda_b: init.constant([facts.outFeatures], config.initWeights ? 0 : 1),
      vera_lambda_d: config.initWeights
        ? init.constant([config.r], config.dInitial)
        : init.normal([config.r], 1),
    };
    this.#facts = facts;
    this.#projections = sharedPartOf(context, VeraProjections);
    this.#p = config.veraDropout;
    this.#random = context.random;
  }

  /** lambda_d A [r, in] and lambda_b B [out, r]. */
  #factors(): { A: Tensor; B: Tensor } {
    const { vera_lambda_b: b, vera_lambda_d: d } = this.parameters;
    const { inFeatures, outFeatures } = this.#facts;
    return {
      A: multiply(first(this.#projections.A, 1, inFeatures), reshape(d, [d.size, 1])),
      B: multiply(first(this.#projections.B, 0, outFeatures), reshape(b, [b.size, 1])),
    };
  }

  apply(call: LinearCall, training: boolean): LinearCall {
    const xDropped = training && this.#p > 0 ? dropout(call.x, this.#p, this.#random) : null;
    return withTerm(call, { ...this.#factors(), s: 1, xDropped });
  }

  mergedWeight(weight: Tensor): Tensor {
    return changedWeight({ weight, layout: this.#facts.layout, s: 1, ...this.#factors() });
  }
}

/** Why an adapter cannot be added to others: all must draw the same projections. */
function conflict(config: VeraConfig, others: readonly VeraConfig[]): string | null {
  const { projectionPrngKey: key, saveProjection } = config;
  const other = others.find((other) => other.projectionPrngKey !== key);
  if (other) {
    return `Vera PRNG initialisation key must be the same for all adapters. Got config.projection_prng_key=${key} but previous config had ${other.projectionPrngKey}.`;
  }
  return others.every((other) => other.saveProjection === saveProjection)
    ? null
    : "VeRA projection weights must be saved for all adapters or none, but got multiple different values: [False, True]";
}

/** VeRA, for the registry. */
export const vera: PeftMethod<VeraConfig> = linearMethod({
  name: "vera",
  peftClasses: { model: "VeraModel" },
  configFromJSON: (json) => VeraConfig.fromJSON(json),
  conflict,
  sharedPart: (config, targets, { device }) => new VeraProjections(config, targets, device),
  adapter: VeraAdapter,
});
