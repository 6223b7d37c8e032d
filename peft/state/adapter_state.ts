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

/** What decides which adapters act in a forward, at one moment: a call keeps it from start to end. */
export interface AdapterCall {
  /** Names of the adapters that act, in order. */
  readonly active: readonly string[];
  /** Whether every adapter is switched off. */
  readonly disabled: boolean;
  /** The batch whose rows have adapters of their own, or null. */
  readonly mixed: RowAdapters | null;
  /** Scalings that are multiplied. */
  readonly rescales: readonly Rescale[];
}

/** What the adapters of one model share: which are active, merged, or switched off. */
export class AdapterState {
  #active: readonly string[] = [];
  #merged: readonly string[] = [];
  #disabled = false;
  #mixed: RowAdapters | null = null;
  #rescales: readonly Rescale[] = [];
  #observer: ((layer: Module, x: Tensor) => void) | null = null;

  /** Names of the adapters that act, in order. */
  get active(): readonly string[] {
    return this.#active;
  }

  set active(names: readonly string[]) {
    noteSetting(this, "active", this.#active, names);
    this.#active = names;
  }

  /** Names of the adapters whose change is in the base weights. */
  get merged(): readonly string[] {
    return this.#merged;
  }

  set merged(names: readonly string[]) {
    noteSetting(this, "merged", this.#merged, names);
    this.#merged = names;
  }

  /** Whether every adapter is switched off. */
  get disabled(): boolean {
    return this.#disabled;
  }

  set disabled(off: boolean) {
    noteSetting(this, "disabled", this.#disabled, off);
    this.#disabled = off;
  }

  /** The batch of the running forward, if its rows have adapters of their own; null if the active adapters act on all rows. */
  get mixed(): RowAdapters | null {
    return this.#mixed;
  }

  set mixed(batch: RowAdapters | null) {
    noteSetting(this, "mixed", this.#mixed, batch);
    this.#mixed = batch;
  }

  /** Scalings that are multiplied for as long as functions run. */
  get rescales(): readonly Rescale[] {
    return this.#rescales;
  }

  set rescales(rescales: readonly Rescale[]) {
    const show = (all: readonly Rescale[]) => all.map(({ factor, layers }) => `${factor} ${layers}`);
    noteSetting(this, "rescales", show(this.#rescales), show(rescales));
    this.#rescales = rescales;
  }

  /** Called with each linear layer that holds adapters and its input; null unless something collects inputs (EVA). */
  get observer(): ((layer: Module, x: Tensor) => void) | null {
    return this.#observer;
  }

  set observer(observer: ((layer: Module, x: Tensor) => void) | null) {
    noteSetting(this, "observer", this.#observer !== null, observer !== null);
    this.#observer = observer;
  }

  /** What decides which adapters act now. */
  get call(): AdapterCall {
    const { active, disabled, mixed, rescales } = this;
    return { active, disabled, mixed, rescales };
  }

  /** Runs `body`, which must not be asynchronous, in the state of `call`, and restores the present one. */
  during<T>(call: AdapterCall, body: () => T): T {
    const before = this.call;
    this.#set(call);
    try {
      return body();
    } finally {
      this.#set(before);
    }
  }

  #set({ active, disabled, mixed, rescales }: AdapterCall): void {
    if (active !== this.#active) this.active = active;
    if (disabled !== this.#disabled) this.disabled = disabled;
    if (mixed !== this.#mixed) this.mixed = mixed;
    if (rescales !== this.#rescales) this.rescales = rescales;
  }

  /** The running batch whose rows differ; null if there is none, or every adapter is off. */
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
   * Runs a layer with the adapters that act in it: once for the whole batch, or where rows have adapters of their own,
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
