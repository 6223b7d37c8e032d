/**
 * What the adapters of one model share. It alone decides which of them act in a layer.
 * @module
 */

import type { StackedLora, Tensor } from "../../autograd/mod.ts";
import { noteSetting } from "../../autograd/settings.ts";
import type { Module } from "../../nn/mod.ts";
import { bySample } from "./by_sample.ts";
import type { FactoredLayer } from "./low_rank_factors.ts";

/** Cuts a group's rows out of a tensor as long as the batch. */
export type PartOf = (tensor: Tensor) => Tensor;

/** A batch whose rows have adapters of their own. */
export interface RowAdapters {
  /** Adapter of each row, or "__base__" for none. */
  readonly names: readonly string[];
  /** The factors of the rows' adapters in a layer, side by side; null unless all that are in it are of the LoRA family. */
  stackOf(layer: FactoredLayer): StackedLora | null;
}

/** Scalings that are multiplied for as long as a function runs. */
export interface Rescale {
  /** What they are multiplied by. */
  readonly factor: number;
  /** The scalings: one of each LoRA layer. */
  readonly scalings: ReadonlySet<object>;
  /** The paths of those layers. */
  readonly layers: string;
}

/**
 * What decides which adapters act in a forward, at one moment: a call keeps it from start to end.
 *
 * @example
 * ```ts
 * import { type AdapterCall, AdapterState } from "@peft/webgpu/peft";
 *
 * const state = new AdapterState();
 * state.active = ["pirate"];
 * const call: AdapterCall = state.call; // what a generation keeps from its start
 * state.active = ["poet"];
 * console.log(state.during(call, () => state.active), state.active); // [ "pirate" ] [ "poet" ]
 * ```
 */
export interface AdapterCall {
  /** Names of the adapters that act, in order. */
  readonly active: readonly string[];
  /** Whether every adapter is switched off. */
  readonly disabled: boolean;
  /** @internal The batch whose rows have adapters of their own, or null. */
  readonly mixed: RowAdapters | null;
  /** @internal Scalings that are multiplied. */
  readonly rescales: readonly Rescale[];
}

/** Settings of the adapters of one model. */
interface Settings extends AdapterCall {
  readonly merged: readonly string[];
  readonly observer: ((layer: Module, x: Tensor) => void) | null;
}

/** What each setting is at first. */
const INITIAL: Settings = {
  active: [],
  merged: [],
  disabled: false,
  mixed: null,
  rescales: [],
  observer: null,
};

/** What a captured step sees of a setting; absent: all of it. */
const SHOWN: { readonly [Name in keyof Settings]?: (value: Settings[Name]) => unknown } = {
  rescales: (all) => all.map(({ factor, layers }) => `${factor} ${layers}`),
  observer: (observer) => observer !== null,
};

/**
 * What the adapters of one model share: which are active, merged, or switched off.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { Tuner } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * if (model.base_model instanceof Tuner) console.log(model.base_model.state.active); // [ "default" ]
 * ```
 */
export class AdapterState {
  /** Names of the adapters that act, in order. */
  declare active: readonly string[];
  /** Names of the adapters whose change is in the base weights. */
  declare merged: readonly string[];
  /** Whether every adapter is switched off. */
  declare disabled: boolean;
  /** @internal The batch of the running forward, if its rows have adapters of their own; null if the active adapters act on all rows. */
  declare mixed: RowAdapters | null;
  /** @internal Scalings that are multiplied for as long as functions run. */
  declare rescales: readonly Rescale[];
  /** Called with each linear layer that holds adapters and its input; null unless something collects inputs (EVA). */
  declare observer: ((layer: Module, x: Tensor) => void) | null;

  readonly #settings: Record<keyof Settings, unknown> = { ...INITIAL };

  static { // captured steps depend on the settings, so that every change of one is noted
    for (const name of Object.keys(INITIAL) as (keyof Settings)[]) {
      const shown = (SHOWN[name] ?? ((value) => value)) as (value: unknown) => unknown;
      Object.defineProperty(this.prototype, name, {
        get(this: AdapterState) {
          return this.#settings[name];
        },
        set(this: AdapterState, next: unknown) {
          noteSetting(this, name, shown(this.#settings[name]), shown(next));
          this.#settings[name] = next;
        },
      });
    }
  }

  /** What decides which adapters act now. */
  get call(): AdapterCall {
    const { active, disabled, mixed, rescales } = this;
    return { active, disabled, mixed, rescales };
  }

  /** Runs `body`, which must not be asynchronous, in the state of `call`, and restores the present one. */
  during<T>(call: AdapterCall, body: () => T): T {
    const before = this.call;
    Object.assign(this, call);
    try {
      return body();
    } finally {
      Object.assign(this, before);
    }
  }

  /** @internal The running batch whose rows differ; null if there is none, or every adapter is off. */
  get rows(): RowAdapters | null {
    return this.disabled ? null : this.mixed;
  }

  /**
   * The adapters that act in a layer on every row of the batch, in order: active, in the layer, not merged, not off.
   * None in a batch whose rows differ: see `forRows`.
   * @param has whether the layer holds an adapter
   */
  acting(has: (name: string) => boolean): string[] {
    if (this.disabled || this.mixed) return [];
    return this.active.filter((name) => has(name) && !this.merged.includes(name));
  }

  /**
   * @internal Runs a layer with the adapters that act in it: once for the whole batch, or where rows have adapters of their own,
   * once for each group of neighbouring rows with the same one ("__base__": with none).
   * @param x [rows ..., ...]   @param has whether the layer holds an adapter
   * @throws {TypeError} if x is not as many rows as the batch
   */
  forRows(
    x: Tensor,
    has: (name: string) => boolean,
    run: (acting: readonly string[], part: PartOf) => Tensor,
  ): Tensor {
    const { rows } = this;
    if (!rows) return run(this.acting(has), (tensor) => tensor);
    const names = rows.names.map((name) => has(name) ? name : null);
    return bySample(x, names, (name, part) => run(name === null ? [] : [name], part));
  }

  /** Renames an adapter. */
  rename(from: string, to: string): void {
    const renamed = (name: string) => name === from ? to : name;
    this.active = this.active.map(renamed);
    this.merged = this.merged.map(renamed);
  }
}
