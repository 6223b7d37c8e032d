/**
 * Modules that train whole beside an adapter and are saved with it (`peft`'s `ModulesToSaveWrapper`).
 * @module
 */

import type { Tensor } from "../autograd/mod.ts";
import { Module, ModuleDict, type Parameter } from "../nn/mod.ts";
import type { AdapterState } from "./method.ts";

/** A layer of one tensor in and one out, with options it understands. */
export type Layer = Module & { forward(x: Tensor, ...rest: unknown[]): Tensor };

/** Stands in the place of a module, and uses the copy of the active adapter. */
export class ModulesToSaveWrapper extends Module {
  /** The base's own module. */
  original_module: Layer;
  /** Trained copies by adapter. */
  modules_to_save: ModuleDict<Layer> = new ModuleDict();
  readonly #state: AdapterState;

  /** Wraps a module; copies are added after. */
  constructor(original: Module, state: AdapterState) {
    super();
    this.original_module = original as Layer;
    this.training = original.training;
    this.#state = state;
  }

  /** The copy that acts, or the original. */
  get acting(): Layer {
    if (this.#state.disabled) return this.original_module;
    const name = this.#state.active.find((adapter) => this.modules_to_save.has(adapter));
    return name === undefined ? this.original_module : this.modules_to_save.get(name)!;
  }

  /** What the acting module computes. */
  forward(x: Tensor, ...rest: unknown[]): Tensor {
    return this.acting.forward(x, ...rest);
  }

  /** Makes an adapter's copy. */
  addAdapter(name: string): void {
    const copy = this.original_module.clone();
    this.modules_to_save.set(name, copy.requiresGrad_(true));
  }

  /** An adapter's parameters by their keys on disk, relative to this module. */
  adapterParameters(name: string): [string, Parameter][] {
    return [...(this.modules_to_save.get(name)?.namedParameters() ?? [])];
  }
}
