/**
 * A linear layer with adapters of one method beside it. What differs between methods is a `LinearAdapter`: its
 * parameters, how it changes a call, and the weight that gives the same.
 * @module
 */

import { cast, noGrad, type Tensor, tidy, type WeightLayout } from "../autograd/mod.ts";
import {
  Conv1D,
  Linear,
  type Module,
  ModuleDict,
  type Parameter,
  ParameterDict,
  Projection,
  type ProjectionOptions,
} from "../nn/mod.ts";
import type { PeftConfig } from "./config/peft_config.ts";
import { type LinearCall, runLinear } from "./linear_call.ts";
import { partOfOptions } from "./by_sample.ts";
import type { AdapterState } from "./adapter_state.ts";
import type { InjectionContext, TunerLayer } from "./method.ts";
import { renameKey } from "./operations/rename_adapter.ts";
import { OriginalWeights } from "./original_weights.ts";

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
}

/** One adapter of one linear layer. */
export interface LinearAdapter {
  /** What trains, by keys on disk: `hada_w1_a`, `oft_R.weight`. */
  readonly parameters: Readonly<Record<string, Parameter>>;
  /** Listed beside them, frozen and never written. */
  readonly constants?: Readonly<Record<string, Parameter>>;
  /** The call with this adapter in it; part of the gradient graph. */
  apply(call: LinearCall, training: boolean): LinearCall;
  /** The weight [float32, stored as the base's] that gives what the adapter gives in eval mode. */
  mergedWeight(weight: Tensor): Tensor;
}

/** Makes a method's adapter for a layer. @throws {RangeError} if the configuration does not fit the layer */
export type MakeLinearAdapter<Config extends PeftConfig> = (
  config: Config,
  facts: LinearFacts,
  context: InjectionContext,
) => LinearAdapter;

/** Whether a module is one that `AdaptedLinear` can stand in for, or one itself. */
export function isLinearTarget(module: Module): boolean {
  return module instanceof Conv1D || module instanceof Linear || module instanceof AdaptedLinear;
}

/** Takes the place of a Conv1D or Linear. */
export class AdaptedLinear<Config extends PeftConfig = PeftConfig> extends Projection implements TunerLayer {
  /** The layer it replaced. */
  base_layer: Conv1D | Linear;
  readonly #state: AdapterState;
  readonly #make: MakeLinearAdapter<Config>;
  readonly #adapters = new Map<string, LinearAdapter>();
  /** `peft`'s tree: a parameter's name, then the adapter's. */
  readonly #plain = new Map<string, ParameterDict>();
  /** The same where the parameter is in a module: its name, the adapter's, and its own. */
  readonly #nested = new Map<string, ModuleDict<ParameterDict>>();
  readonly #original = new OriginalWeights();

  /** Wraps a layer; adapters are added after. */
  constructor(base: Conv1D | Linear, state: AdapterState, make: MakeLinearAdapter<Config>) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
    this.#make = make;
  }

  /** Size of the last axis of the input. */
  get inFeatures(): number {
    return this.base_layer.inFeatures;
  }

  /** Size of the last axis of the output. */
  get outFeatures(): number {
    return this.base_layer.outFeatures;
  }

  /** How the base weight is stored. */
  get layout(): WeightLayout {
    return this.base_layer.layout;
  }

  /** The base layer, then the parameters of all adapters. */
  override *children(): Generator<[string, Module]> {
    yield ["base_layer", this.base_layer];
    yield* this.#parts();
  }

  *#parts(): Generator<[string, ParameterDict | ModuleDict<ParameterDict>]> {
    yield* this.#plain;
    yield* this.#nested;
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    return this.#state.forRows(
      x,
      (name) => this.#adapters.has(name),
      (acting, part) => this.#run(part(x), acting, partOfOptions(options, part)),
    );
  }

  #run(x: Tensor, acting: readonly string[], options: ProjectionOptions): Tensor {
    if (acting.length === 0) return this.base_layer.forward(x, options);
    const { weight, bias, layout } = this.base_layer;
    let call: LinearCall = { x, weight, bias, layout, terms: [], added: null, gain: null };
    // The last first: what an adapter does to the input comes before what those merged or active earlier do.
    for (const name of acting.toReversed()) call = this.#adapters.get(name)!.apply(call, this.training);
    return runLinear(call, options);
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return [...this.#adapters.keys()];
  }

  /** Makes an adapter. @throws {RangeError} if the configuration does not fit the layer */
  addAdapter(name: string, config: Config, path: string, context: InjectionContext): void {
    const { inFeatures, outFeatures, layout } = this;
    const adapter = this.#make(config, { path, inFeatures, outFeatures, layout }, context);
    this.#adapters.set(name, adapter);
    for (const [key, parameter] of Object.entries({ ...adapter.parameters, ...adapter.constants })) {
      this.#place(key, name, parameter);
    }
  }

  /** `hada_w1_a` goes to `hada_w1_a.default`, `oft_R.weight` to `oft_R.default.weight`. */
  #place(key: string, name: string, parameter: Parameter): void {
    const [first, rest] = key.split(".");
    if (rest === undefined) {
      const part = this.#plain.get(first) ?? new ParameterDict();
      part.set(name, parameter);
      this.#plain.set(first, part);
    } else {
      const part = this.#nested.get(first) ?? new ModuleDict<ParameterDict>();
      const inner = part.get(name) ?? new ParameterDict();
      inner.set(rest, parameter);
      part.set(name, inner);
      this.#nested.set(first, part);
    }
  }

  /** Drops an adapter. */
  deleteAdapter(name: string): void {
    for (const [, part] of this.#parts()) part.delete(name);
    this.#adapters.delete(name);
    if (this.#adapters.size === 0) this.#original.forget(); // the last adapter is gone: what is merged stays
  }

  /** Gives an adapter another name. */
  renameAdapter(from: string, to: string): void {
    renameKey(this.#adapters, from, to);
    for (const [, part] of this.#parts()) part.rename(from, to);
  }

  /** What trains, by keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    return Object.entries(this.#adapters.get(name)?.parameters ?? {});
  }

  /** Puts an adapter's change into the base weight; the first merge keeps a copy of it. */
  merge(name: string): void {
    const adapter = this.#adapters.get(name);
    if (!adapter) return;
    const { weight } = this.base_layer;
    this.#original.keep(weight);
    noGrad(() =>
      tidy(() => {
        const stored = cast(adapter.mergedWeight(cast(weight, "float32")), weight.dtype);
        weight.device.copy(stored.view, weight.view);
      })
    );
  }

  /** Puts the base weight back, bit for bit. */
  unmerge(): void {
    this.#original.restore();
  }

  /** The base weight. */
  mergedWeights(): Parameter[] {
    return [this.base_layer.weight];
  }

  /** Gives the memory of base and adapters back. */
  override dispose(): void {
    super.dispose();
    this.#original.forget();
  }
}
