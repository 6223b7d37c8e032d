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
} from "../autograd/mod.ts";
import {
  activations,
  type Conv1D,
  Dropout,
  Linear,
  ModuleDict,
  Parameter,
  Projection,
  type ProjectionOptions,
} from "../nn/mod.ts";
import { columnNorms, doraForward, DoraMagnitude, type LoraFactors } from "./dora.ts";
import type { LoraConfig } from "./lora.ts";
import { LoraScaling } from "./lora_scaling.ts";
import type { LowRankFactors, LowRankLayer } from "./low_rank.ts";
import type { AdapterState, InjectionContext } from "./method.ts";
import { OriginalWeights } from "./original_weights.ts";
import { renameIn } from "./rename_adapter.ts";
import { patternValue } from "./targets.ts";

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
  readonly scaling: LoraScaling = new LoraScaling();
  readonly #state: AdapterState;
  readonly #original = new OriginalWeights();

  /** Wraps a layer; adapters are added after. */
  constructor(base: Conv1D | Linear, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
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

  /** Adapters that act on this layer and are not merged into it. */
  #acting(): string[] {
    if (this.#state.disabled || this.#state.mixed) return [];
    return this.#state.active.filter((name) => this.lora_A.has(name) && !this.#state.merged.includes(name));
  }

  #factors(name: string): LoraFactors {
    const { weight, layout } = this.base_layer;
    const [A, B] = [this.lora_A.get(name)!.weight, this.lora_B.get(name)!.weight];
    return { weight, layout, A, B, s: this.scaling.get(name)! };
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    const stack = this.#state.disabled ? null : this.#state.mixed?.stackOf(this);
    if (stack) {
      const { weight, bias, layout } = this.base_layer;
      return mixedLoraLinear(x, weight, bias, stack, { layout, ...options });
    }
    const acting = this.#acting();
    if (acting.length === 0) return this.base_layer.forward(x, options);
    const { weight, bias, layout } = this.base_layer;
    const dropped = acting.map((name) => {
      const drop = this.lora_dropout.get(name)!;
      return drop.isActive ? drop.forward(x) : null;
    });
    const factors = acting.map((name) => this.#factors(name));
    const magnitudes = acting.map((name) => this.lora_magnitude_vector.get(name)?.weight);
    if (factors.length === 1 && !magnitudes[0]) {
      const [{ A, B, s }] = factors;
      return loraLinear(x, weight, bias, A, B, s, { layout, xDropped: dropped[0], ...options });
    }
    let y: Tensor | null = null;
    factors.forEach((own, i) => {
      const magnitude = magnitudes[i];
      if (magnitude) {
        const whole = doraForward(x, bias, own, magnitude, dropped[i]);
        y = y ? add(y, subtract(whole, linear(x, weight, bias, { layout }))) : whole;
      } else {
        const u = scale(linear(dropped[i] ?? x, own.A, null), own.s); // [..., r]
        y = linear(u, own.B, null, { residual: y ?? linear(x, weight, bias, { layout }) });
      }
    });
    return this.#finish(y!, options);
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
    const bound = 1 / Math.sqrt(this.inFeatures);
    const A = config.initLoraWeights === "gaussian"
      ? init.normal([rank, this.inFeatures], 1 / rank)
      : init.uniform([rank, this.inFeatures], bound);
    const B = config.initLoraWeights === false
      ? init.uniform([this.outFeatures, rank], 1 / Math.sqrt(rank))
      : init.constant([this.outFeatures, rank], 0);
    this.lora_dropout.set(name, new Dropout(config.loraDropout, random));
    this.lora_A.set(name, new Linear(A));
    this.lora_B.set(name, new Linear(B));
    this.scaling.start(name, alpha / (config.useRslora ? Math.sqrt(rank) : rank));
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
    if (this.scaling.size === 0) this.#original.forget(); // the last adapter is gone: what is merged stays
  }

  /** Gives an adapter another name. */
  renameAdapter(from: string, to: string): void {
    renameIn(this, from, to);
  }

  /** A, B and DoRA's lengths by their keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const [A, B] = [this.lora_A.get(name), this.lora_B.get(name)];
    if (!A || !B) return [];
    const magnitude = this.lora_magnitude_vector.get(name);
    return [
      ["lora_A.weight", A.weight],
      ["lora_B.weight", B.weight],
      ...(magnitude ? [["lora_magnitude_vector", magnitude.weight] as [string, Parameter]] : []),
    ];
  }

  /** An adapter's A and B. */
  lowRank(name: string): LowRankFactors | null {
    const [A, B] = [this.lora_A.get(name)?.weight, this.lora_B.get(name)?.weight];
    return A && B ? { A, B, bias: null, hasMagnitude: this.lora_magnitude_vector.has(name) } : null;
  }

  /** Sets an adapter's scaling to `factor` times its initial one. A captured step keeps the one it was captured with. */
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
        const A = this.lora_A.get(name)!.weight; // [r, in]
        const B = this.lora_B.get(name)!.weight; // [out, r]
        const product = this.layout === "conv1d"
          ? matmul(transpose(A), transpose(B)) // [in, out]
          : matmul(B, A); // [out, in]
        return scale(product, this.scaling.get(name)!);
      })
    );
  }

  /** Adds an adapter's change to the base weight; the first merge keeps a copy of it. */
  merge(name: string): void {
    if (!this.lora_A.has(name)) return;
    const { weight } = this.base_layer;
    this.#original.keep(weight);
    noGrad(() =>
      tidy(() => {
        let merged = add(cast(weight, "float32"), this.delta(name));
        const magnitude = this.lora_magnitude_vector.get(name)?.weight;
        if (magnitude) {
          const g = divide(magnitude, columnNorms(this.#factors(name))); // [out]
          merged = multiply(merged, this.layout === "conv1d" ? g : reshape(g, [g.size, 1]));
        }
        const stored = cast(merged, weight.dtype);
        weight.device.copy(stored.view, weight.view);
      })
    );
  }

  /** Puts the base weight back. */
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
