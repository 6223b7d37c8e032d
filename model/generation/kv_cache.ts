/**
 * Keys and values of the tokens so far, on the device.
 * @module
 */

import { type Device, empty, keep, type Tensor, tidy, untracked, writeRows } from "../../autograd/mod.ts";
import { keyValueSize, type ModelFacts } from "../facts.ts";

/** Room for `capacity` tokens of each row, one tensor per layer. */
export class KVCache {
  /** Number of tokens that it holds. */
  length = 0;
  /** How many of those are virtual: a prefix or a prompt, which the caller's mask does not cover. */
  virtualTokens = 0;
  /** Tokens there is room for. */
  readonly capacity: number;
  /** Rows. */
  readonly batch: number;
  /** Of each layer: [B, capacity, 2 Hkv D], keys then values. */
  readonly layers: readonly Tensor[];
  /** Holds rows of a layer while they change places. */
  #spare?: Tensor;

  /**
   * An empty cache.
   * @param config the model's configuration
   * @param capacity defaults to the model's longest sequence, and is at most that
   */
  constructor({ facts }: { readonly facts: ModelFacts }, device: Device, batch: number, capacity?: number) {
    this.batch = batch;
    this.capacity = Math.min(capacity ?? facts.maxPositions, facts.maxPositions);
    const shape = [batch, this.capacity, keyValueSize(facts)];
    // If a layer does not fit, the scope frees those before it; once all fit, the cache owns them.
    this.layers = tidy(() => Array.from({ length: facts.numLayers }, () => empty(device, shape))).map(keep);
  }

  /**
   * Puts the keys and values of a prefix, [NV, 2 Hkv D] for each layer, in front of every row.
   * @throws {RangeError} if the cache is not empty, or has no room for the prefix
   */
  prefill(prefix: readonly Tensor[]): void {
    const [virtual] = prefix[0].shape;
    if (this.length > 0 || virtual > this.capacity) {
      throw new RangeError(
        `Cannot put a prefix of ${virtual} tokens into the cache: it must be empty and have room for the prefix, received a cache with ${this.length} of ${this.capacity} tokens`,
      );
    }
    prefix.forEach((rows, layer) => {
      for (let b = 0; b < this.batch; b++) writeRows(this.layers[layer], rows, b * this.capacity);
    });
    this.length = virtual;
    this.virtualTokens = virtual;
  }

  /**
   * Gives each row the tokens of another: row r those that row `parents[r]` had, as beam search continues its sequences.
   * @param parents one row number for each row; several may be the same
   */
  reorder(parents: readonly number[]): void {
    const moved = parents.flatMap((parent, row) => parent === row ? [] : [{ parent, row }]);
    if (moved.length === 0) return;
    const [{ device, shape: [, , width] }] = this.layers;
    const rowBytes = this.capacity * width * 4;
    const bytes = this.length * width * 4;
    this.#spare ??= untracked(() => empty(device, this.layers[0].shape));
    const spare = this.#spare;
    for (const layer of this.layers) {
      const copy = (from: Tensor, source: number, to: Tensor, target: number) =>
        device.copy(from.window(source * rowBytes, bytes), to.window(target * rowBytes, bytes));
      for (const parent of new Set(moved.map(({ parent }) => parent))) copy(layer, parent, spare, parent);
      for (const { parent, row } of moved) copy(spare, parent, layer, row);
    }
  }

  /** Frees its memory. */
  dispose(): void {
    for (const layer of this.layers) layer.dispose();
    this.#spare?.dispose();
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
