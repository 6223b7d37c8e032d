/**
 * A linear layer with adapters: the one wrapper that every method of linear layers shares. What differs between methods
 * is a `LinearAdapter`: its parameters, how it changes a call, and the weight that gives the same.
 * @module
 */

import {
  cast,
  type Gate,
  mixedLoraLinear,
  noGrad,
  type Tensor,
  tidy,
  type WeightLayout,
} from "../../autograd/mod.ts";
import {
  Conv1D,
  gatedActivation,
  Linear,
  type Module,
  ModuleDict,
  type Parameter,
  ParameterDict,
  Projection,
  type ProjectionCall,
  type ProjectionOptions,
} from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import type { AdapterState, RowAdapters } from "../state/adapter_state.ts";
import { partOfOptions } from "../state/by_sample.ts";
import { LoraScaling } from "../state/lora_scaling.ts";
import type { LowRankFactors } from "../state/low_rank_factors.ts";
import {
  layerOf,
  type LinearAdapter,
  type LinearCall,
  type LinearFacts,
  type MakeLinearAdapter,
  runLinear,
} from "./linear_call.ts";
import { renameIn, renameKey } from "./rename_adapter.ts";
import type { InjectionContext, TunerLayer } from "./tuner_layer.ts";

/** Whether a module is one that `AdaptedLinear` can wrap, or one itself. */
export function isLinearTarget(module: Module): boolean {
  return module instanceof Conv1D || module instanceof Linear || module instanceof AdaptedLinear;
}

/** A call that takes launches of its own, and one more for a gate. */
function gatedAfter(forward: () => Tensor): ProjectionCall {
  const run = (gate?: Gate) => {
    const y = forward();
    return gate ? gatedActivation(gate.activation, gate.by, y) : y;
  };
  return { layer: null, run };
}

/** One part of a layer's adapters, by adapter name: modules for some methods, bare parameters for others. */
class AdapterTable extends ModuleDict {
  readonly #parameters = new ParameterDict();

  get parameterDict(): ParameterDict {
    return this.#parameters;
  }

  override *ownParameters(): Generator<[string, Parameter]> {
    yield* this.#parameters.ownParameters();
  }

  override has(name: string): boolean {
    return super.has(name) || this.#parameters.has(name);
  }

  override delete(name: string): void {
    super.delete(name);
    this.#parameters.delete(name);
  }

  override rename(from: string, to: string): void {
    super.rename(from, to);
    this.#parameters.rename(from, to);
  }
}

/**
 * Replaces a Conv1D or Linear. Parameters of the adapters are properties with `peft`'s names, each a table by adapter:
 * `lora_A.default.weight`, `hada_w1_a.default`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { AdaptedLinear } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * for (const [path, module] of model.namedModules()) if (module instanceof AdaptedLinear) console.log(path);
 * ```
 */
export class AdaptedLinear<Config extends PeftConfig = PeftConfig> extends Projection implements TunerLayer {
  /** The layer it replaced. */
  base_layer: Conv1D | Linear;
  /** Scaling of each adapter of the LoRA family. */
  readonly scaling: LoraScaling;
  readonly #state: AdapterState;
  readonly #make: MakeLinearAdapter<Config>;
  readonly #adapters = new Map<string, LinearAdapter>();
  readonly #has = (name: string): boolean => this.#adapters.has(name);

  /** Wraps a layer; adapters are added after. */
  constructor(base: Conv1D | Linear, state: AdapterState, make: MakeLinearAdapter<Config>) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.scaling = new LoraScaling(state);
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

  /** The base weight, merged or not. */
  get weight(): Parameter {
    return this.base_layer.weight;
  }

  /** The base bias. */
  get bias(): Parameter | null {
    return this.base_layer.bias;
  }

  /** How the base weight is stored. */
  get layout(): WeightLayout {
    return this.base_layer.layout;
  }

  /** What all adapters of the model share. */
  get adapterState(): AdapterState {
    return this.#state;
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    this.#state.observer?.(this, x);
    if (this.#state.rows) return this.#mixed(x, this.#state.rows, options);
    return this.#run(x, this.#state.acting(this.#has), options);
  }

  /** @internal A layer for a joint launch, where one adapter of the LoRA family acts at most, for all rows alike. */
  override prepare(x: Tensor): ProjectionCall {
    this.#state.observer?.(this, x);
    const { rows } = this.#state;
    if (rows) return gatedAfter(() => this.#mixed(x, rows, {}));
    const acting = this.#state.acting(this.#has);
    if (acting.length === 0) return this.base_layer.prepare(x);
    const call = this.#callOf(x, acting);
    return { layer: layerOf(call, x), run: (gate) => runLinear(call, { gate }) };
  }

  /** Rows with adapters of their own: all at once where they are of the LoRA family, otherwise group by group. */
  #mixed(x: Tensor, rows: RowAdapters, options: ProjectionOptions): Tensor {
    const stack = rows.stackOf(this);
    if (stack) {
      const { weight, bias, layout } = this.base_layer;
      return mixedLoraLinear(x, weight, bias, stack, { layout, ...options });
    }
    return this.#state.forRows(
      x,
      this.#has,
      (acting, part) => this.#run(part(x), acting, partOfOptions(options, part)),
    );
  }

  #run(x: Tensor, acting: readonly string[], options: ProjectionOptions): Tensor {
    if (acting.length === 0) return this.base_layer.forward(x, options);
    return runLinear(this.#callOf(x, acting), options);
  }

  /** The base's call with what the acting adapters change. */
  #callOf(x: Tensor, acting: readonly string[]): LinearCall {
    const { weight, bias, layout } = this.base_layer;
    let call: LinearCall = { x, weight, bias, layout, terms: [], added: null, gain: null };
    // The last first: what an adapter does to the input comes before what those merged or active earlier do.
    for (let i = acting.length - 1; i >= 0; i--) {
      call = this.#adapters.get(acting[i])!.apply(call, this.training, this.#scalingOf(acting[i]));
    }
    return call;
  }

  #scalingOf(name: string): number {
    return this.scaling.get(name) ?? 1;
  }

  /** W with the acting adapter's change, of a layer without bias; null where the layer does more than that. */
  override headWeight(): Tensor | null {
    if (this.#state.rows?.names.some(this.#has)) return null; // rows differ
    const acting = this.#state.acting(this.#has);
    if (acting.length === 0) return this.base_layer.headWeight();
    if (acting.length > 1 || this.layout !== "linear" || this.bias || this.weight.dtype !== "float32") {
      return null;
    }
    return this.#adapters.get(acting[0])!.headWeight?.(this.#scalingOf(acting[0])) ?? null;
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return [...this.#adapters.keys()];
  }

  /** @internal Makes an adapter. @throws {RangeError} if the configuration does not fit the layer */
  addAdapter(name: string, config: Config, path: string, context: InjectionContext): void {
    const { inFeatures, outFeatures, layout, base_layer: base } = this;
    const facts: LinearFacts = {
      path,
      inFeatures,
      outFeatures,
      layout,
      get weight() {
        return base.weight; // merging may put another one there
      },
      hasBias: this.bias !== null,
    };
    const adapter = this.#make(config, facts, context);
    this.#adapters.set(name, adapter);
    if (adapter.scaling !== undefined) this.scaling.start(name, adapter.scaling);
    for (const [key, module] of Object.entries(adapter.modules ?? {})) {
      this.#table(key).set(name, module);
    }
    const listed = { ...adapter.modules ? {} : adapter.parameters, ...adapter.constants };
    for (const [key, parameter] of Object.entries(listed)) this.#place(key, name, parameter);
    this.train(this.training);
  }

  /** The table that is the property `key`; a new one where there is none. */
  #table(key: string): AdapterTable {
    return (this as unknown as Record<string, AdapterTable>)[key] ??= new AdapterTable();
  }

  /** `hada_w1_a` goes to `hada_w1_a.default`, `oft_R.weight` to `oft_R.default.weight`. */
  #place(key: string, name: string, parameter: Parameter): void {
    const [first, rest] = key.split(".");
    const table = this.#table(first);
    if (rest === undefined) return table.parameterDict.set(name, parameter);
    const inner = table.get(name) as ParameterDict | undefined ?? new ParameterDict();
    inner.set(rest, parameter);
    table.set(name, inner);
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    for (const [, part] of this.children()) if (part instanceof AdapterTable) part.delete(name);
    this.scaling.delete(name);
    this.#adapters.get(name)?.dispose?.();
    this.#adapters.delete(name);
  }

  /** Renames an adapter. */
  renameAdapter(from: string, to: string): void {
    renameKey(this.#adapters, from, to);
    renameIn(this, from, to);
  }

  /** What trains, by keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    return Object.entries(this.#adapters.get(name)?.parameters ?? {});
  }

  /** A and B of an adapter of the LoRA family; null of others. */
  lowRank(name: string): LowRankFactors | null {
    return this.#adapters.get(name)?.factors ?? null;
  }

  /** Sets an adapter's scaling to `factor` times its initial one. */
  setScale(name: string, factor: number): void {
    this.scaling.setScale(name, factor);
  }

  /** Multiplies the scaling of the active adapters. */
  scaleLayer(factor: number): void {
    this.scaling.scale(this.#state.active, factor);
  }

  /** Divides the scaling of the active adapters, or without a factor resets it to the initial one. */
  unscaleLayer(factor?: number): void {
    this.scaling.unscale(this.#state.active, factor);
  }

  /** Why an adapter cannot be merged, or null. */
  mergeObstacle(name: string): string | null {
    return this.#adapters.get(name)?.mergeObstacle ?? null;
  }

  /** Puts an adapter's change into the base weight and bias. */
  merge(name: string): void {
    const adapter = this.#adapters.get(name);
    if (!adapter) return;
    const { weight, bias } = this.base_layer;
    const scaling = this.#scalingOf(name);
    noGrad(() =>
      tidy(() => {
        const stored = cast(adapter.mergedWeight(cast(weight, "float32"), scaling), weight.dtype);
        weight.device.copy(stored.view, weight.view);
        if (bias && adapter.mergedBias) bias.device.copy(adapter.mergedBias(bias, scaling).view, bias.view);
      })
    );
  }

  /** The base weight, and the bias if an adapter changes it. */
  mergedWeights(): Parameter[] {
    const { weight, bias } = this.base_layer;
    return bias && [...this.#adapters.values()].some((adapter) => adapter.mergedBias)
      ? [weight, bias]
      : [weight];
  }

  /** Frees the memory of base and adapters. */
  override dispose(): void {
    super.dispose();
    for (const adapter of this.#adapters.values()) adapter.dispose?.();
  }
}
