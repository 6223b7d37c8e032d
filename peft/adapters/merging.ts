/**
 * Merges the changes of adapters into the base weights, and unmerges them.
 * @module
 */

import { cast, isQuantized, untracked, weightFormat } from "../../autograd/mod.ts";
import { type Module, Parameter, replaceParameters } from "../../nn/mod.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import type { GradientFlags } from "./gradient_flags.ts";
import { OriginalWeights } from "./original_weights.ts";
import { UntiedWeights } from "./untied_weights.ts";

/** Merges adapters of one model. */
export class Merging {
  readonly #model: Module;
  readonly #state: AdapterState;
  readonly #flags: GradientFlags;
  readonly #originals = new OriginalWeights();
  readonly #untied = new UntiedWeights();
  /** Adapters that are merged again once they are on. */
  #suspended: string[] = [];

  /** Nothing is merged yet. */
  constructor(model: Module, state: AdapterState, flags: GradientFlags) {
    this.#model = model;
    this.#state = state;
    this.#flags = flags;
  }

  /**
   * Adds the changes of those adapters to the base weights that are not merged yet.
   * @param dequantize base weights of few bits become float32 first; otherwise they are refused
   * @throws {RangeError} if an adapter cannot be merged, or with `safe` if a merged weight is not finite; no number of the
   * base is changed then
   */
  async merge(names: readonly string[], safe: boolean, dequantize = false): Promise<void> {
    const fresh = names.filter((name, i) => !this.#state.merged.includes(name) && names.indexOf(name) === i);
    if (fresh.length === 0) {
      console.warn("All adapters are already merged, nothing to do.");
      return;
    }
    this.#checkMergeable(fresh);
    if (dequantize) this.#dequantize(fresh);
    else this.#checkStorage(fresh);
    const before = [...this.#state.merged];
    this.mergeNow(fresh);
    if (!safe) return;
    const broken = await this.#firstBroken();
    if (broken === null) return;
    if (this.#state.disabled) this.#suspended = before; // switched off while the values were read
    else {
      this.unmerge();
      if (before.length > 0) this.mergeNow(before);
    }
    throw new RangeError(
      `Cannot merge: NaNs detected in the merged weights. The adapter ${
        fresh.join(", ")
      } seems to be broken (${broken})`,
    );
  }

  #checkMergeable(names: readonly string[]): void {
    for (const [path, layer] of tunerLayers(this.#model)) {
      for (const name of names) {
        const obstacle = layer.mergeObstacle?.(name, names);
        if (obstacle) throw new RangeError(`Cannot merge adapter "${name}": ${obstacle} ("${path}")`);
      }
    }
  }

  /** The base weights that merging changes, with the paths of their layers. */
  #changedBy(names: readonly string[]): [path: string, weight: Parameter][] {
    return tunerLayers(this.#model)
      .filter(([, layer]) => layer.merge && layer.adapterNames().some((name) => names.includes(name)))
      .flatMap(([path, layer]): [string, Parameter][] =>
        (layer.mergedWeights?.() ?? []).map((weight) => [path, weight])
      );
  }

  #checkStorage(names: readonly string[]): void {
    for (const [path, { dtype }] of this.#changedBy(names)) {
      if (!isQuantized(dtype)) continue;
      throw new RangeError(
        `Cannot merge adapter "${
          names.join('", "')
        }" in place: a ${dtype} weight cannot hold a change ("${path}"); ` +
          "mergeAndUnload() merges into dequantised weights",
      );
    }
  }

  /** Gives the layers that merging changes float32 weights in the place of those of few bits. */
  #dequantize(names: readonly string[]): void {
    const others = new Map<Parameter, Parameter>();
    for (const [, weight] of this.#changedBy(names)) {
      if (!isQuantized(weight.dtype) || others.has(weight)) continue;
      others.set(weight, new Parameter(untracked(() => cast(weight, "float32")), false));
    }
    replaceParameters(this.#model, others);
    for (const weight of others.keys()) weight.dispose();
  }

  /** Adds the change of adapters that are not merged, unchecked. */
  mergeNow(names: readonly string[]): void {
    const targets = tunerLayers(this.#model).filter(([, layer]) =>
      layer.adapterNames().some((n) => names.includes(n))
    );
    const bases = targets.filter(([, layer]) => !layer.keepsTies).map(([, layer]) => layer.base_layer);
    for (const [own, shared] of this.#untied.untie(this.#model, bases)) this.#flags.inherit(own, shared);
    for (const [, layer] of targets) {
      if (!layer.unmerge) this.#originals.keep(...layer.mergedWeights?.() ?? []);
      for (const name of names) layer.merge?.(name);
    }
    this.#state.merged = [...this.#state.merged, ...names];
  }

  /** Path of the first layer with a merged weight that is not finite. */
  async #firstBroken(): Promise<string | null> {
    for (const [path, layer] of tunerLayers(this.#model)) {
      for (const weight of layer.mergedWeights?.() ?? []) {
        const values = await weight.data();
        const { isBroken } = weightFormat(weight.dtype)!;
        if (isBroken && values.some(isBroken)) return path;
      }
    }
    return null;
  }

  /** Removes every merged change from the base weights, bit for bit. */
  unmerge(): void {
    if (this.#state.merged.length === 0) return;
    this.#originals.restore();
    for (const [, layer] of tunerLayers(this.#model)) layer.unmerge?.();
    this.#untied.restore();
    this.#state.merged = [];
  }

  /** Unmerges while adapters are off; with `again`, `resume` merges again. */
  suspend(again: boolean): void {
    this.#suspended = again ? [...this.#state.merged] : [];
    this.unmerge();
  }

  /** Merges again what `suspend` unmerged. */
  resume(): void {
    const names = this.#suspended;
    this.#suspended = [];
    if (names.length > 0) this.mergeNow(names);
  }

  /** Forgets what `suspend` unmerged, because other adapters act now. */
  forgetSuspended(): void {
    this.#suspended = [];
  }

  /** Whether an adapter is in the base weights, or will be once it is on again. */
  isMerged(name: string): boolean {
    return this.#state.merged.includes(name) || this.#suspended.includes(name);
  }

  /** Renames an adapter. */
  rename(from: string, to: string): void {
    this.#suspended = this.#suspended.map((name) => name === from ? to : name);
  }

  /** Leaves the base weights as they are: what is merged stays. */
  finish(): void {
    this.#suspended = [];
    this.#originals.forget();
    this.#untied.forget();
    this.#state.merged = [];
  }
}
