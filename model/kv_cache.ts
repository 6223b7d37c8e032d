/**
 * Keys and values of the tokens so far, on the device.
 * @module
 */

import { type Device, empty, keep, type Tensor } from "../autograd/mod.ts";
import type { GPT2Config } from "./gpt2_config.ts";

/** Room for `capacity` tokens of each row, a layer at a time. */
export class KVCache {
  /** Tokens in it. */
  length = 0;
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
    this.layers = Array.from({ length: config.nLayer }, () => keep(empty(device, shape)));
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
