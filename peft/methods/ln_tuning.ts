/**
 * LN tuning (Zhao et al. 2024, arXiv:2312.11420): copies of layer norms train, everything else is frozen. Fields and keys
 * are those of Hugging Face's `peft` 0.21. One adapter acts at a time.
 * @module
 */

import type { TunerLayer } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { LNTuningConfig } from "./ln_tuning_config.ts";
import type { PeftMethod } from "./method.ts";
import type { Tensor } from "../../autograd/mod.ts";
import { LayerNorm, Module, ModuleDict, type Parameter } from "../../nn/mod.ts";

/** Replaces a LayerNorm; the active adapter's copy is used instead of it. */
export class LNTuningLayer extends Module implements TunerLayer {
  /** The layer norm it replaced. */
  base_layer: LayerNorm;
  /** Trained copies by adapter. */
  ln_tuning_layers: ModuleDict<LayerNorm> = new ModuleDict();
  readonly peftClass = "LNTuningLayer";
  readonly #state: AdapterState;

  /** Wraps a layer norm; adapters are added after. */
  constructor(base: LayerNorm, state: AdapterState) {
    super();
    this.base_layer = base;
    this.training = base.training;
    this.#state = state;
  }

  /** x [..., C] -> [..., C]. @throws {RangeError} if two adapters with a copy are active */
  forward(x: Tensor): Tensor {
    return this.#state.forRows(x, (name) => this.ln_tuning_layers.has(name), (acting, part) => {
      if (acting.length > 1) {
        throw new RangeError(
          `Cannot run ln_tuning: one active adapter per layer norm is required, received ${
            acting.join(", ")
          }`,
        );
      }
      const norm = acting.length === 1 ? this.ln_tuning_layers.get(acting[0])! : this.base_layer;
      return norm.forward(part(x));
    });
  }

  /** Names of its adapters. */
  adapterNames(): string[] {
    return this.ln_tuning_layers.keys();
  }

  /** Copies the layer norm: a fresh adapter changes nothing. */
  addAdapter(name: string): void {
    this.ln_tuning_layers.set(name, this.base_layer.clone());
  }

  /** Removes an adapter. */
  deleteAdapter(name: string): void {
    this.ln_tuning_layers.delete(name);
  }

  /** Weight and bias by their keys on disk. */
  adapterParameters(name: string): [string, Parameter][] {
    const copy = this.ln_tuning_layers.get(name);
    return copy ? [["ln_tuning_layers.weight", copy.weight], ["ln_tuning_layers.bias", copy.bias]] : [];
  }

  /** Writes an adapter's values into the base layer norm. */
  merge(name: string): void {
    const copy = this.ln_tuning_layers.get(name);
    if (!copy) return;
    const { weight, bias } = this.base_layer;
    weight.device.copy(copy.weight.view, weight.view);
    bias.device.copy(copy.bias.view, bias.view);
  }

  /** What `merge` changes. */
  mergedWeights(): Parameter[] {
    return [this.base_layer.weight, this.base_layer.bias];
  }
}

/** LN tuning, for the registry. */
export const lnTuning: PeftMethod<LNTuningConfig> = {
  name: "ln_tuning",
  peftClasses: { model: "LNTuningModel" },
  configFromJSON: (json) => LNTuningConfig.fromJSON(json),
  supports: (module) => module instanceof LayerNorm || module instanceof LNTuningLayer,
  wrap: (module, state) => new LNTuningLayer(module as LayerNorm, state),
};
