/**
 * LN tuning (Zhao et al. 2024, arXiv:2312.11420): copies of norms train, everything else is frozen. Fields and keys
 * are those of Hugging Face's `peft` 0.21. One adapter acts at a time.
 * @module
 */

import type { TunerLayer } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { LNTuningConfig } from "./ln_tuning_config.ts";
import type { PeftMethod } from "./method.ts";
import type { Tensor } from "../../autograd/mod.ts";
import { LayerNorm, Module, ModuleDict, type Parameter, RMSNorm } from "../../nn/mod.ts";

/** A norm with parameters of its own. */
export type Norm = LayerNorm | RMSNorm;

/** Replaces a norm; the active adapter's copy is used instead of it. */
export class LNTuningLayer extends Module implements TunerLayer {
  /** The norm it replaced. */
  base_layer: Norm;
  /** Trained copies by adapter. */
  ln_tuning_layers: ModuleDict<Norm> = new ModuleDict();
  readonly peftClass = "LNTuningLayer";
  readonly #state: AdapterState;

  /** Wraps a norm; adapters are added after. */
  constructor(base: Norm, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
  }

  /** x [..., C] -> [..., C], plus `residual` after an RMSNorm. @throws {RangeError} if two adapters with a copy are active */
  forward(x: Tensor, residual: Tensor | null = null): Tensor {
    return this.#state.forRows(x, (name) => this.ln_tuning_layers.has(name), (acting, part) => {
      if (acting.length > 1) {
        throw new RangeError(
          `Cannot run ln_tuning: one active adapter per norm is required, received ${acting.join(", ")}`,
        );
      }
      const norm = acting.length === 1 ? this.ln_tuning_layers.get(acting[0])! : this.base_layer;
      return norm instanceof RMSNorm
        ? norm.forward(part(x), residual && part(residual))
        : norm.forward(part(x));
    });
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.ln_tuning_layers.keys();
  }

  /** Copies the norm: a fresh adapter changes nothing. */
  addAdapter(name: string): void {
    this.ln_tuning_layers.set(name, this.base_layer.clone());
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    this.ln_tuning_layers.delete(name);
  }

  /** Weight, and bias where the norm has one, by their keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const copy = this.ln_tuning_layers.get(name);
    return [...copy?.ownParameters() ?? []].map(([key, own]) => [`ln_tuning_layers.${key}`, own]);
  }

  /** Writes an adapter's values into the base norm. */
  merge(name: string): void {
    const own = this.ln_tuning_layers.get(name)?.parameters() ?? [];
    const bases = this.mergedWeights();
    for (const [i, copy] of [...own].entries()) copy.device.copy(copy.view, bases[i].view);
  }

  /** What `merge` changes. */
  mergedWeights(): Parameter[] {
    return [...this.base_layer.parameters()];
  }
}

/** LN tuning, for the registry. */
export const lnTuning: PeftMethod<LNTuningConfig> = {
  name: "ln_tuning",
  peftClasses: { model: "LNTuningModel" },
  configFromJSON: (json) => LNTuningConfig.fromJSON(json),
  supports: (module) =>
    module instanceof LayerNorm || module instanceof RMSNorm || module instanceof LNTuningLayer,
  wrap: (module, state) => new LNTuningLayer(module as Norm, state),
};
