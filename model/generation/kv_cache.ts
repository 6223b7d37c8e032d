/**
 * Keys and values of the tokens so far, on the device.
 * @module
 */

import { type Device, empty, keep, type Tensor, tidy, untracked, writeRows } from "../../autograd/mod.ts";
import { keyValueSize, type ModelFacts } from "../facts.ts";

/** Which tokens a cache holds, and what they were computed by. */
export interface HeldTokens {
  /** The model. */
  readonly model: object;
  /** The settings of the time, such as the adapters that acted (`settingsKey`). */
  readonly settings: string;
  /** Tokens of each row, virtual ones left out; what the cache holds beyond them is not known. */
  readonly rows: readonly (readonly number[])[];
}

/**
 * Room for `capacity` tokens of each row, one tensor per layer.
 *
 * A cache that is kept between calls of `generate` spares a conversation's earlier tokens:
 *
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer } from "@peft/webgpu";
 * import { KVCache } from "@peft/webgpu/model";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * using pastKeyValues = new KVCache(model, model.device, 1, 0);
 * const [first] = await model.generate("Once upon a time", { tokenizer, pastKeyValues });
 * await model.generate([[...first, ...tokenizer.encode(" there was")]], { pastKeyValues }); // computes the new tokens alone
 * ```
 */
export class KVCache {
  /** Number of tokens that it holds. */
  length = 0;
  /** How many of those are virtual: a prefix or a prompt, which the caller's mask does not cover. */
  virtualTokens = 0;
  /** @internal What `generate` knows of the tokens; null where it filled nothing. */
  held: HeldTokens | null = null;
  readonly #batch: number;
  readonly #facts: ModelFacts;
  readonly #device: Device;
  #capacity: number;
  #layers: readonly Tensor[];
  /** Holds rows of a layer while they change places. */
  #spare?: Tensor;

  /**
   * An empty cache.
   * @param model the model, or its configuration
   * @param capacity defaults to the model's longest sequence, and is at most that; 0 takes memory when it is needed
   */
  constructor({ facts }: { readonly facts: ModelFacts }, device: Device, batch: number, capacity?: number) {
    this.#batch = batch;
    this.#facts = facts;
    this.#device = device;
    this.#capacity = Math.min(capacity ?? facts.maxPositions, facts.maxPositions);
    this.#layers = this.#allocate(this.#capacity);
  }

  /** Rows. */
  get batch(): number {
    return this.#batch;
  }

  /** Tokens there is room for. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Of each layer: [B, capacity, 2 Hkv D], keys then values. */
  get layers(): readonly Tensor[] {
    return this.#layers;
  }

  #allocate(capacity: number): Tensor[] {
    if (capacity === 0) return [];
    const shape = [this.batch, capacity, keyValueSize(this.#facts)];
    const { numLayers } = this.#facts;
    // If a layer does not fit, the scope frees those before it; once all fit, the cache owns them.
    return tidy(() => Array.from({ length: numLayers }, () => empty(this.#device, shape))).map(keep);
  }

  /** @internal Whether its sizes and device are those of a model. */
  fits({ facts, device }: { readonly facts: ModelFacts; readonly device: Device }): boolean {
    const { numLayers } = this.#facts;
    return device === this.#device && facts.numLayers === numLayers &&
      keyValueSize(facts) === keyValueSize(this.#facts) && facts.maxPositions === this.#facts.maxPositions;
  }

  /**
   * Makes room for `capacity` tokens, at most the model's longest sequence. Tokens that it holds stay. It grows by half
   * at least, so that a conversation that grows step by step is seldom copied.
   */
  reserve(capacity: number): void {
    if (capacity <= this.#capacity) return;
    const room = Math.min(
      Math.max(capacity, Math.ceil(1.5 * this.#capacity)),
      Math.max(capacity, this.#facts.maxPositions),
    );
    const grown = this.#allocate(room);
    const rowBytes = (rows: number) => rows * keyValueSize(this.#facts) * 4;
    const bytes = rowBytes(this.length);
    this.#layers.forEach((layer, at) => {
      for (let b = 0; bytes > 0 && b < this.batch; b++) {
        this.#device.copy(
          layer.window(b * rowBytes(this.#capacity), bytes),
          grown[at].window(b * rowBytes(room), bytes),
        );
      }
    });
    this.dispose();
    this.#capacity = room;
    this.#layers = grown;
  }

  /** Keeps the first `length` tokens, as `transformers`' `crop`. @throws {RangeError} for a length below 0 */
  crop(length: number): void {
    if (!Number.isInteger(length) || length < 0) {
      throw new RangeError(
        `Cannot crop the cache: a number of tokens of at least 0 is required, received ${length}`,
      );
    }
    this.length = Math.min(this.length, length);
    this.virtualTokens = Math.min(this.virtualTokens, length);
    const known = length - this.virtualTokens;
    if (this.held) this.held = { ...this.held, rows: this.held.rows.map((row) => row.slice(0, known)) };
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
   * @internal Copies tokens of a row of another cache, of the same sizes; their count is the caller's to set.
   * @param from row, first column and number of columns   @param to row and first column here
   */
  copyTokens(
    source: KVCache,
    from: { readonly row: number; readonly first: number; readonly count: number },
    to: { readonly row: number; readonly first: number },
  ): void {
    const bytes = keyValueSize(this.#facts) * 4;
    const place = (cache: KVCache, { row, first }: typeof to) => (row * cache.capacity + first) * bytes;
    const size = from.count * bytes;
    this.layers.forEach((layer, at) => {
      const read = source.layers[at].window(place(source, from), size);
      this.#device.copy(read, layer.window(place(this, to), size));
    });
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
    this.#spare = undefined;
  }

  /** `using` disposes it at the end of the block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
