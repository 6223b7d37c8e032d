/**
 * Keys and values of the tokens so far, on the device.
 * @module
 */

import { type Device, empty, keep, type Tensor, tidy, writeRows } from "../../autograd/mod.ts";
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

  /** Frees its memory. */
  dispose(): void {
    for (const layer of this.layers) layer.dispose();
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
