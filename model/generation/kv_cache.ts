/**
 * Keys and values of the tokens so far, on the device.
 * @module
 */

import { type Device, empty, keep, type Tensor, tidy, writeRows } from "../../autograd/mod.ts";
import type { GPT2Config } from "../gpt2/config.ts";

/** Room for `capacity` tokens of each row, a layer at a time. */
export class KVCache {
  /** Tokens in it. */
  length = 0;
  /** Those of them that are virtual: a prefix or a prompt, which a caller's mask does not cover. */
  virtualTokens = 0;
  /** Tokens there is room for. */
  readonly capacity: number;
  /** Rows. */
  readonly batch: number;
  /** Of each layer: [B, capacity, 2C], keys then values. */
  readonly layers: readonly Tensor[];

  /** `capacity` defaults to the model's n_positions. */
  constructor(config: GPT2Config, device: Device, batch: number, capacity: number = config.nPositions) {
    this.batch = batch;
    this.capacity = Math.min(capacity, config.nPositions);
    const shape = [batch, this.capacity, 2 * config.nEmbd];
    // A scope frees the layers before if one does not fit; then they are the cache's.
    this.layers = tidy(() => Array.from({ length: config.nLayer }, () => empty(device, shape))).map(keep);
  }

  /** Puts the keys and values of a prefix, [NV, 2C] of each layer, in front of every row. @throws {RangeError} if it is not empty */
  prefill(prefix: readonly Tensor[]): void {
    const [virtual] = prefix[0].shape;
    if (this.length > 0 || virtual > this.capacity) {
      throw new RangeError(
        `Cannot put a prefix of ${virtual} tokens into the cache: an empty one with room for it is required, received ${this.length} of ${this.capacity}`,
      );
    }
    prefix.forEach((rows, layer) => {
      for (let b = 0; b < this.batch; b++) writeRows(this.layers[layer], rows, b * this.capacity);
    });
    this.length = virtual;
    this.virtualTokens = virtual;
  }

  /** Gives its memory back. */
  dispose(): void {
    for (const layer of this.layers) layer.dispose();
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
