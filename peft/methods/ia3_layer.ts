/**
 * A linear layer with (IA)^3 factors beside it.
 * @module
 */

import {
  add,
  cast,
  full,
  multiply,
  noGrad,
  reshape,
  type Tensor,
  tidy,
  untracked,
  type WeightLayout,
} from "../../autograd/mod.ts";
import {
  activations,
  type Conv1D,
  type Linear,
  Parameter,
  ParameterDict,
  Projection,
  type ProjectionOptions,
} from "../../nn/mod.ts";
import type { IA3Config } from "./ia3_config.ts";
import { partOfOptions } from "../by_sample.ts";
import type { AdapterState } from "../adapter_state.ts";
import type { InjectionContext, TunerLayer } from "../method.ts";
import { OriginalWeights } from "../original_weights.ts";
import { renameIn } from "../operations/rename_adapter.ts";
import { matchesTarget } from "../targets.ts";

/** Takes the place of a Conv1D or Linear. Properties carry `peft`'s names. */
export class IA3Layer extends Projection implements TunerLayer {
  /** The layer it replaced. */
  base_layer: Conv1D | Linear;
  /** Factors of each adapter: [1, in] of inputs, or [out, 1] of outputs. */
  ia3_l: ParameterDict = new ParameterDict();
  readonly #state: AdapterState;
  #feedforward = false;
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

  /** How the base weight is stored. */
  get layout(): WeightLayout {
    return this.base_layer.layout;
  }

  /** The product of these adapters' factors as one row, or null. */
  #factor(acting: readonly string[]): Tensor | null {
    const rows = acting.map((name) => this.#row(name));
    return rows.length === 0 ? null : rows.reduce((product, row) => multiply(product, row));
  }

  /** An adapter's factors as a row [in] or [out], part of the gradient graph. */
  #row(name: string): Tensor {
    const l = this.ia3_l.get(name)!;
    return reshape(l, [l.size]);
  }

  /** x [..., in] -> [..., out]. */
  forward(x: Tensor, options: ProjectionOptions = {}): Tensor {
    return this.#state.forRows(
      x,
      (name) => this.ia3_l.has(name),
      (acting, part) => this.#run(part(x), acting, partOfOptions(options, part)),
    );
  }

  #run(x: Tensor, acting: readonly string[], options: ProjectionOptions): Tensor {
    const l = this.#factor(acting);
    if (!l) return this.base_layer.forward(x, options);
    if (this.#feedforward) return this.base_layer.forward(multiply(x, l), options);
    const y = multiply(this.base_layer.forward(x), l);
    const activated = options.activation ? activations[options.activation](y) : y;
    return options.residual ? add(activated, options.residual) : activated;
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.ia3_l.keys();
  }

  /** Makes an adapter's factors. @throws {RangeError} if another adapter scales the other side of this layer */
  addAdapter(name: string, config: IA3Config, path: string, { device, init }: InjectionContext): void {
    const feedforward = matchesTarget(path, config.feedforwardModules ?? []);
    if (this.ia3_l.keys().length > 0 && feedforward !== this.#feedforward) {
      throw new RangeError(
        `Cannot add adapter "${name}": "${path}" is ${
          feedforward ? "" : "not "
        }in feedforward_modules, unlike in its other adapters`,
      );
    }
    this.#feedforward = feedforward;
    const shape = feedforward ? [1, this.inFeatures] : [this.outFeatures, 1];
    const parameter = config.initIa3Weights
      ? new Parameter(untracked(() => full(device, shape, 1)))
      : init.normal(shape, 1);
    this.ia3_l.set(name, parameter);
  }

  /** Drops an adapter. */
  deleteAdapter(name: string): void {
    this.ia3_l.delete(name);
    if (this.ia3_l.keys().length === 0) this.#original.forget();
  }

  /** Gives an adapter another name. */
  renameAdapter(from: string, to: string): void {
    renameIn(this, from, to);
  }

  /** The factors by their key on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const parameter = this.ia3_l.get(name);
    return parameter ? [["ia3_l", parameter]] : [];
  }

  /** Multiplies an adapter's factors into the base weight (and the bias, on the output side). */
  merge(name: string): void {
    if (!this.ia3_l.has(name)) return;
    const { weight, bias, layout } = this.base_layer;
    this.#original.keep(...this.mergedWeights());
    noGrad(() =>
      tidy(() => {
        const row = this.#row(name);
        // rows of a Conv1D's weight are inputs, rows of a Linear's are outputs
        const alongRows = this.#feedforward === (layout === "conv1d");
        const factor = alongRows ? reshape(row, [row.size, 1]) : row;
        const merged = cast(multiply(cast(weight, "float32"), factor), weight.dtype);
        weight.device.copy(merged.view, weight.view);
        if (bias && !this.#feedforward) bias.device.copy(multiply(bias, row).view, bias.view);
      })
    );
  }

  /** Puts the base weight and bias back, bit for bit (`peft` divides). */
  unmerge(): void {
    this.#original.restore();
  }

  /** The base weights that `merge` changes. */
  mergedWeights(): Parameter[] {
    const { weight, bias } = this.base_layer;
    return bias && !this.#feedforward ? [weight, bias] : [weight];
  }

  /** Gives the memory of base and adapters back. */
  override dispose(): void {
    super.dispose();
    this.#original.forget();
  }
}
