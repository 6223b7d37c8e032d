/**
 * Scalings of a LoRA layer's adapters: where they start, and how they are changed afterwards.
 * @module
 */

import { noteSetting } from "../../autograd/settings.ts";
import type { AdapterState } from "./adapter_state.ts";

/**
 * Scaling by adapter; `get` is the one in use.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { LoraLayer } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * for (const [, module] of model.namedModules()) if (module instanceof LoraLayer) console.log(module.scaling.get("default")); // 1
 * ```
 */
export class LoraScaling extends Map<string, number> {
  readonly #initial = new Map<string, number>();
  readonly #state: Pick<AdapterState, "rescales"> | null;

  /** Starts without adapters. @param state says which scalings are multiplied at the moment; null: none */
  constructor(state: Pick<AdapterState, "rescales"> | null = null) {
    super();
    this.#state = state;
  }

  /** The scaling in use: what was set, multiplied by what `rescaleAdapterScale` asks for while it runs. */
  override get(name: string): number | undefined {
    let scaling = super.get(name);
    if (scaling === undefined) return undefined;
    for (const { factor, scalings } of this.#state?.rescales ?? []) if (scalings.has(this)) scaling *= factor;
    return scaling;
  }

  /** A new adapter's scaling: alpha / r, or alpha / sqrt(r) for rsLoRA. */
  start(name: string, scaling: number): void {
    this.#initial.set(name, scaling);
    this.set(name, scaling);
  }

  /** Sets the scaling in use. */
  override set(name: string, scaling: number): this {
    noteSetting(this, name, super.get(name), scaling);
    return super.set(name, scaling);
  }

  /** The scaling an adapter started with; 1 for one that the layer does not hold. */
  initial(name: string): number {
    return this.#initial.get(name) ?? 1;
  }

  /**
   * Sets an adapter's scaling to `factor` times its initial one (`peft`'s `set_scale`); does nothing if the layer does
   * not hold it.
   */
  setScale(name: string, factor: number): void {
    if (this.has(name)) this.set(name, factor * this.initial(name));
  }

  /** Multiplies the scaling of adapters (`scale_layer`). */
  scale(names: Iterable<string>, factor: number): void {
    for (const name of names) if (this.has(name)) this.set(name, super.get(name)! * factor);
  }

  /** Divides the scaling of adapters, or without a factor resets it to the initial one (`unscale_layer`). */
  unscale(names: Iterable<string>, factor?: number): void {
    for (const name of names) {
      if (this.has(name)) {
        this.set(name, factor === undefined ? this.initial(name) : super.get(name)! / factor);
      }
    }
  }

  /** Renames an adapter. */
  rename(from: string, to: string): void {
    if (!this.has(from)) return;
    const [now, initial] = [super.get(from)!, this.initial(from)];
    this.delete(from);
    this.start(to, initial);
    this.set(to, now);
  }

  /** Forgets an adapter. */
  override delete(name: string): boolean {
    this.#initial.delete(name);
    return super.delete(name);
  }
}
