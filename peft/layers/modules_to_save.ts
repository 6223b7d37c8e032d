/**
 * Modules that train whole beside an adapter and are saved with it (`peft`'s `ModulesToSaveWrapper`).
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { Module, ModuleDict, type Parameter } from "../../nn/mod.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { partOfOptions } from "../state/by_sample.ts";

/**
 * A layer of one tensor in and one out, with options it understands.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { type Layer, ModulesToSaveWrapper } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"], modulesToSave: ["ln_f"] }));
 * const wrapper = base.getSubmodule("transformer.ln_f") as ModulesToSaveWrapper;
 * const copy: Layer = wrapper.modules_to_save.get("default")!; // trains in place of the base's own
 * console.log([...copy.namedParameters()].map(([name]) => name)); // [ "weight", "bias" ]
 * ```
 */
export type Layer = Module & {
  forward(x: Tensor, ...rest: unknown[]): Tensor;
  headWeight?(): Tensor | null;
};

/**
 * Replaces a module, and uses the copy of the active adapter.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { ModulesToSaveWrapper } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"], modulesToSave: ["ln_f"] }));
 * for (const [path, module] of model.namedModules()) if (module instanceof ModulesToSaveWrapper) console.log(path);
 * ```
 */
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

  /** The copy of the first active adapter that has one, or the original. A merged adapter's copy acts too. */
  get acting(): Layer {
    return this.#copyOf(this.#state.disabled ? [] : this.#state.active);
  }

  #copyOf(names: readonly string[]): Layer {
    const name = names.find((adapter) => this.modules_to_save.has(adapter));
    return name === undefined ? this.original_module : this.modules_to_save.get(name)!;
  }

  /** What the acting module computes; in a mixed batch, each sample by the copy of its own adapter. */
  forward(x: Tensor, ...rest: unknown[]): Tensor {
    if (!this.#state.rows) return this.acting.forward(x, ...rest);
    return this.#state.forRows(
      x,
      (name) => this.modules_to_save.has(name),
      (names, part) =>
        this.#copyOf(names).forward(part(x), ...rest.map((value) => partOfOptions(value, part))),
    );
  }

  /** The acting module's weight, where it is a plain head (see `Projection`). */
  headWeight(): Tensor | null {
    if (this.#state.rows) return null; // rows differ
    return this.acting.headWeight?.() ?? null;
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
