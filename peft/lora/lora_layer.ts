/**
 * A linear layer with LoRA adapters beside it.
 * @module
 */

import {
  add,
  cast,
  divide,
  linear,
  loraLinear,
  matmul,
  mixedLoraLinear,
  multiply,
  noGrad,
  reshape,
  scale,
  subtract,
  type Tensor,
  tidy,
  transpose,
  untracked,
  type WeightLayout,
} from "../../autograd/mod.ts";
import {
  activations,
  type Conv1D,
  Dropout,
  Linear,
  ModuleDict,
  Parameter,
  Projection,
  type ProjectionOptions,
} from "../../nn/mod.ts";
import { columnNorms, doraForward, DoraMagnitude } from "./dora.ts";
import type { LoraConfig } from "./lora_config.ts";
import {
  changedWeight,
  frozenLinear,
  type LoraFactors,
  type LoraOffset,
  wholeFactors,
} from "./lora_factors.ts";
import { loraStart } from "./lora_init.ts";
import { LoraScaling } from "./lora_scaling.ts";
import type { LowRankFactors, LowRankLayer } from "./low_rank.ts";
import type { AdapterState } from "../adapter_state.ts";
import type { InjectionContext } from "../method.ts";
import { OriginalWeights } from "../original_weights.ts";
import { renameIn, renameKey } from "../operations/rename_adapter.ts";
import { patternValue } from "../targets.ts";

/** Takes the place of a Conv1D or Linear. Properties carry `peft`'s names. */
export class LoraLayer extends Projection implements LowRankLayer {
  /** The layer it replaced. */
  base_layer: Conv1D | Linear;
  /** Dropout of each adapter's input. */
  lora_dropout: ModuleDict<Dropout> = new ModuleDict();
  /** A of each adapter, [r, in]. */
  lora_A: ModuleDict<Linear> = new ModuleDict();
  /** B of each adapter, [out, r]. */
  lora_B: ModuleDict<Linear> = new ModuleDict();
  /** Lengths of the weight's columns, of each DoRA adapter. */
  lora_magnitude_vector: ModuleDict<DoraMagnitude> = new ModuleDict();
  /** Scaling of each adapter. */
  readonly scaling: LoraScaling;
  /** What is taken off the weight for each adapter that starts from it (PiSSA, OLoRA). */
  readonly #offsets = new Map<string, LoraOffset>();
  readonly #state: AdapterState;
  readonly #original = new OriginalWeights();

  /** Wraps a layer; adapters are added after. */
  constructor(base: Conv1D | Linear, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
    this.scaling = new LoraScaling(state);
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

  /** Adapters that act on this layer and are not merged into it. */
  #acting(): string[] {
    return this.#state.acting((name) => this.lora_A.has(name));
  }

  /** An adapter's factors, with what they belong to. */
  #factors(name: string): LoraFactors {
    const { weight, layout } = this.base_layer;
    const [A, B] = [this.lora_A.get(name)!.weight, this.lora_B.get(name)!.weight];
    return { weight, layout, A, B, s: this.scaling.get(name)!, offset: this.#offsets.get(name) };
  }

  /** Bias of the base and of these adapters' B together, or null. */
  #bias(acting: readonly string[]): Tensor | null {
    let total: Tensor | null = this.base_layer.bias;
    for (const name of acting) {
      const { bias } = this.lora_B.get(name)!;
      if (!bias) continue;
      const own = scale(bias, this.scaling.get(name)!);
      total = total ? add(total, own) : own;
    }
    return total;
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    this.#state.observer?.(this, x);
    const stack = this.#state.rows?.stackOf(this);
    if (stack) {
      const { weight, bias, layout } = this.base_layer;
      return mixedLoraLinear(x, weight, bias, stack, { layout, ...options });
    }
    const acting = this.#acting();
    if (acting.length === 0) return this.base_layer.forward(x, options);
    const { weight, layout } = this.base_layer;
    const bias = this.#bias(acting);
    const adapters = acting.map((name) => {
      const drop = this.lora_dropout.get(name)!;
      return {
        factors: this.#factors(name),
        magnitude: this.lora_magnitude_vector.get(name)?.weight,
        dropped: drop.isActive ? drop.forward(x) : null,
      };
    });
    const [{ factors, magnitude, dropped }] = adapters;
    if (adapters.length === 1 && !magnitude && !(factors.offset && dropped)) {
      const { A, B } = wholeFactors(factors);
      return loraLinear(x, weight, bias, A, B, factors.s, { layout, xDropped: dropped, ...options });
    }
    let y: Tensor | null = null;
    for (const { factors, magnitude, dropped } of adapters) {
      if (magnitude) {
        const whole = doraForward(x, bias, factors, magnitude, dropped);
        y = y ? add(y, subtract(whole, linear(x, weight, bias, { layout }))) : whole;
        continue;
      }
      const frozen: Tensor = y ? this.#takeOff(x, factors, y) : frozenLinear(x, bias, factors);
      const u = scale(linear(dropped ?? x, factors.A, null), factors.s); // [..., r]
      y = linear(u, factors.B, null, { residual: frozen });
    }
    return this.#finish(y!, options);
  }

  /** y without what an adapter takes off the weight. */
  #takeOff(x: Tensor, { offset, s }: LoraFactors, y: Tensor): Tensor {
    return offset ? linear(scale(linear(x, offset.A, null), s), offset.B, null, { residual: y }) : y;
  }

  /**
   * W + s B A of a layer without bias, for ops that fuse with a head; null where the layer does more than that.
   * @see Projection.headWeight
   */
  override headWeight(): Tensor | null {
    if (this.#state.rows?.stackOf(this)) return null; // rows differ
    const acting = this.#acting();
    if (acting.length === 0) return this.base_layer.headWeight();
    const [name] = acting;
    const { weight, layout } = this.base_layer;
    const plain = acting.length === 1 && layout === "linear" && weight.dtype === "float32" &&
      !this.#bias(acting) && !this.lora_magnitude_vector.has(name) && !this.lora_dropout.get(name)!.isActive;
    if (!plain) return null;
    return changedWeight(this.#factors(name)); // [out, in]
  }

  /** activation(y) + residual. */
  #finish(y: Tensor, options: ProjectionOptions): Tensor {
    const activated = options.activation ? activations[options.activation](y) : y;
    return options.residual ? add(activated, options.residual) : activated;
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.lora_A.keys();
  }

  /** Makes an adapter's A and B. */
  addAdapter(name: string, config: LoraConfig, path: string, { init, random }: InjectionContext): void {
    const rank = patternValue(config.rankPattern, path, config.r);
    const alpha = patternValue(config.alphaPattern, path, config.loraAlpha);
    const scaling = alpha / (config.useRslora ? Math.sqrt(rank) : rank);
    const { weight, layout, inFeatures, outFeatures } = this;
    const site = { weight, layout, inFeatures, outFeatures, rank, scaling, init };
    const { A, B, offset } = loraStart(config.initLoraWeights, site);
    const bias = !config.loraBias
      ? null
      : config.initLoraWeights
      ? init.constant([outFeatures], 0)
      : init.uniform([outFeatures], 1 / Math.sqrt(rank));
    this.lora_dropout.set(name, new Dropout(config.loraDropout, random));
    this.lora_A.set(name, new Linear(A));
    this.lora_B.set(name, new Linear(B, bias));
    this.scaling.start(name, scaling);
    if (offset) this.#offsets.set(name, offset);
    if (config.useDora) {
      const norms = untracked(() => columnNorms(this.#factors(name)));
      this.lora_magnitude_vector.set(name, new DoraMagnitude(new Parameter(norms)));
    }
    this.train(this.training);
  }

  /** Drops an adapter. */
  deleteAdapter(name: string): void {
    for (const parts of [this.lora_dropout, this.lora_A, this.lora_B, this.lora_magnitude_vector]) {
      parts.delete(name);
    }
    this.scaling.delete(name);
    this.#dropOffset(name);
    if (this.scaling.size === 0) this.#original.forget(); // the last adapter is gone: what is merged stays
  }

  /** Gives an adapter another name. */
  renameAdapter(from: string, to: string): void {
    renameIn(this, from, to);
    renameKey(this.#offsets, from, to);
  }

  #dropOffset(name: string): void {
    const offset = this.#offsets.get(name);
    offset?.A.dispose();
    offset?.B.dispose();
    this.#offsets.delete(name);
  }

  /** A, B and DoRA's lengths by their keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const [A, B] = [this.lora_A.get(name), this.lora_B.get(name)];
    if (!A || !B) return [];
    const magnitude = this.lora_magnitude_vector.get(name);
    return [
      ["lora_A.weight", A.weight],
      ["lora_B.weight", B.weight],
      ...(B.bias ? [["lora_B.bias", B.bias] as [string, Parameter]] : []),
      ...(magnitude ? [["lora_magnitude_vector", magnitude.weight] as [string, Parameter]] : []),
    ];
  }

  /** An adapter's A and B. */
  lowRank(name: string): LowRankFactors | null {
    const [A, B] = [this.lora_A.get(name)?.weight, this.lora_B.get(name)?.weight];
    if (!A || !B) return null;
    const { bias } = this.lora_B.get(name)!;
    return {
      A,
      B,
      bias,
      offset: this.#offsets.get(name),
      hasMagnitude: this.lora_magnitude_vector.has(name),
    };
  }

  /** Sets an adapter's scaling to `factor` times its initial one. */
  setScale(name: string, factor: number): void {
    this.scaling.setScale(name, factor);
  }

  /** Multiplies the scaling of the active adapters. */
  scaleLayer(factor: number): void {
    this.scaling.scale(this.#state.active, factor);
  }

  /** Divides the scaling of the active adapters, or without a factor puts it back to the initial one. */
  unscaleLayer(factor?: number): void {
    this.scaling.unscale(this.#state.active, factor);
  }

  /** What an adapter adds to the base weight, in the base weight's layout. */
  delta(name: string): Tensor {
    return noGrad(() =>
      tidy(() => {
        const { A, B } = wholeFactors(this.#factors(name)); // [R, in] and [out, R]
        const product = this.layout === "conv1d"
          ? matmul(transpose(A), transpose(B)) // [in, out]
          : matmul(B, A); // [out, in]
        return scale(product, this.scaling.get(name)!);
      })
    );
  }

  /** Why an adapter cannot be merged, or null. */
  mergeObstacle(name: string): string | null {
    return this.lora_B.get(name)?.bias && !this.base_layer.bias
      ? "Impossible to merge LoRA with `lora_bias=True` because the base layer has no bias"
      : null;
  }

  /** Adds an adapter's change to the base weight and bias; the first merge keeps a copy of them. */
  merge(name: string): void {
    if (!this.lora_A.has(name)) return;
    const { weight, bias } = this.base_layer;
    this.#original.keep(...this.mergedWeights());
    noGrad(() =>
      tidy(() => {
        let merged = changedWeight(this.#factors(name));
        const magnitude = this.lora_magnitude_vector.get(name)?.weight;
        if (magnitude) {
          const g = divide(magnitude, columnNorms(this.#factors(name))); // [out]
          merged = multiply(merged, this.layout === "conv1d" ? g : reshape(g, [g.size, 1]));
        }
        const stored = cast(merged, weight.dtype);
        weight.device.copy(stored.view, weight.view);
        const own = this.lora_B.get(name)!.bias;
        if (own && bias) bias.device.copy(add(bias, scale(own, this.scaling.get(name)!)).view, bias.view);
      })
    );
  }

  /** Puts the base weight back. */
  unmerge(): void {
    this.#original.restore();
  }

  /** The base weight, and the bias where an adapter has one. */
  mergedWeights(): Parameter[] {
    const { weight, bias } = this.base_layer;
    const biased = this.lora_B.keys().some((name) => this.lora_B.get(name)!.bias);
    return bias && biased ? [weight, bias] : [weight];
  }

  /** Gives the memory of base and adapters back. */
  override dispose(): void {
    super.dispose();
    for (const name of [...this.#offsets.keys()]) this.#dropOffset(name);
    this.#original.forget();
  }
}
