/**
 * One cache for the rows of many generations, which come and go: the cache under continuous batching.
 * @module
 */

import { type Device, empty, keep, Tensor, untracked } from "../../autograd/mod.ts";
import { keyValueSize, type ModelFacts } from "../facts.ts";
import { KVCache } from "./kv_cache.ts";

/**
 * Keys and values of rows that began at different times. The tokens of a row are neighbours and end where those of every
 * other row end, at `length`: attention sees a batch that is padded on the left. Keys hold the positions they were rotated
 * by, so that a row may lie anywhere.
 */
export class SharedCache extends KVCache {
  readonly #facts: ModelFacts;
  readonly #device: Device;
  /** Tokens of each row. */
  readonly #lengths: number[] = [];
  /** Of each layer: [slots, capacity, 2 Hkv D]; the first slots are the rows. */
  #memory: readonly Tensor[] = [];
  /** Handles on the rows of each layer; null after a change. */
  #views: readonly Tensor[] | null = null;
  #slots = 0;
  #capacity = 0;

  /** A cache without rows, which takes memory when it is needed. */
  constructor(model: { readonly facts: ModelFacts }, device: Device) {
    super(model, device, 0, 0);
    this.#facts = model.facts;
    this.#device = device;
  }

  /** Rows that are in it. */
  override get batch(): number {
    return this.#lengths.length;
  }

  /** Tokens there is room for, from the first of the longest row. */
  override get capacity(): number {
    return this.#capacity;
  }

  /** Of each layer: [B, capacity, 2 Hkv D], keys then values. */
  override get layers(): readonly Tensor[] {
    const shape = [this.batch, this.#capacity, this.#width];
    return this.#views ??= this.#memory.map(({ storage, dtype }) => keep(new Tensor(storage, shape, dtype)));
  }

  #dropViews(): void {
    for (const view of this.#views ?? []) view.dispose();
    this.#views = null;
  }

  /** Tokens of each row. */
  get lengths(): readonly number[] {
    return this.#lengths;
  }

  get #width(): number {
    return keyValueSize(this.#facts);
  }

  /** Bytes of the tokens of one row in one layer. */
  #bytes(tokens: number): number {
    return tokens * this.#width * 4;
  }

  /** Whether so many rows of so many tokens lie within one binding of the device. */
  fitsBinding(rows: number, tokens: number): boolean {
    return rows * this.#bytes(tokens) <= this.#device.limits.maxStorageBufferBindingSize;
  }

  /**
   * Adds a row, as the last one, whose tokens another cache holds at its end.
   * @param source a cache without virtual tokens; it stays as it is
   * @param row of that cache   @param tokens how many of its columns, up to the last, are the row's
   */
  join(source: KVCache, row = 0, tokens = source.length): void {
    if (row >= source.batch || tokens < 1 || tokens > source.length || source.virtualTokens > 0) {
      throw new TypeError(
        `Cannot join a cache: real tokens of one of its ${source.batch} rows are required, received row ${row} with ${tokens} of ${source.length} tokens`,
      );
    }
    const end = Math.max(this.length, tokens);
    const rows = this.batch + 1;
    const isTooWide = !this.fitsBinding(rows, this.#capacity);
    if (end > this.#capacity || rows > this.#slots || isTooWide) {
      const longest = Math.max(tokens, ...this.#lengths);
      const capacity = longest <= this.#capacity && !isTooWide ? this.#capacity : this.#room(longest, rows);
      this.#move(capacity, rows, longest);
    } else if (end > this.length) this.#move(this.#capacity, rows, end);
    this.#dropViews();
    this.#lengths.push(tokens);
    const from = { row, first: source.length - tokens, count: tokens };
    this.copyTokens(source, from, { row: rows - 1, first: this.length - tokens });
  }

  /** Removes a row; the last one takes its place. */
  leave(row: number): void {
    const last = this.batch - 1;
    const tokens = this.#lengths[last];
    if (row < last) {
      const offset = (slot: number) => slot * this.#bytes(this.#capacity) + this.#bytes(this.length - tokens);
      for (const layer of this.#memory) {
        const view = layer.window(offset(last), this.#bytes(tokens));
        const spare = untracked(() => empty(this.#device, [tokens, this.#width])); // a buffer cannot copy to itself
        this.#device.copy(view, spare.view);
        this.#device.copy(spare.view, layer.window(offset(row), this.#bytes(tokens)));
        spare.dispose();
      }
      this.#lengths[row] = tokens;
    }
    this.#dropViews();
    this.#lengths.pop();
    if (this.batch === 0) this.length = 0;
  }

  /** Makes room for one more token of every row: first by moving rows to the left, then by taking memory. */
  extend(): void {
    if (this.length < this.#capacity) return;
    const longest = Math.max(...this.#lengths);
    const isWorthIt = longest + 1 <= this.#capacity * 0.75;
    this.#move(isWorthIt ? this.#capacity : this.#room(longest + 1, this.batch), this.batch, longest);
  }

  /** Counts a token that a forward appended to every row. */
  grow(): void {
    for (let row = 0; row < this.batch; row++) this.#lengths[row]++;
  }

  /**
   * Which columns count when every row gets one more token: uint32 [B, length + 1], or undefined where all do.
   */
  mask(): Tensor | undefined {
    const columns = this.length + 1;
    if (this.#lengths.every((tokens) => tokens === this.length)) return undefined;
    const values = new Uint32Array(this.batch * columns);
    this.#lengths.forEach((tokens, row) =>
      values.fill(1, (row + 1) * columns - tokens - 1, (row + 1) * columns)
    );
    return Tensor.from(values, { shape: [this.batch, columns], device: this.#device });
  }

  /** Tokens to take memory for where `tokens` are needed: some to spare, as far as the rows lie within one binding. */
  #room(tokens: number, rows: number): number {
    const fitting = Math.floor(this.#device.limits.maxStorageBufferBindingSize / (rows * this.#bytes(1)));
    const generous = Math.max(64, Math.ceil(tokens * 1.5 / 64) * 64);
    return Math.max(tokens, Math.min(this.#facts.maxPositions, fitting, generous));
  }

  /** Moves every row into new memory, so that the rows end at column `length`. Without room for it, the rows are gone. */
  #move(capacity: number, rows: number, length: number): void {
    const wanted = rows <= this.#slots ? this.#slots : 2 * this.#slots;
    const most = Math.floor(this.#device.limits.maxBufferSize / this.#bytes(capacity));
    const room = Math.max(rows, Math.min(wanted, most));
    const before = this.#memory;
    const next: Tensor[] = [];
    try {
      for (let at = 0; at < this.#facts.numLayers; at++) { // one layer at most is there twice
        const layer = untracked(() => empty(this.#device, [room, capacity, this.#width]));
        next.push(layer);
        this.#lengths.forEach((tokens, row) => {
          const from = row * this.#bytes(this.#capacity) + this.#bytes(this.length - tokens);
          const to = row * this.#bytes(capacity) + this.#bytes(length - tokens);
          const bytes = this.#bytes(tokens);
          this.#device.copy(before[at].window(from, bytes), layer.window(to, bytes));
        });
        before[at]?.dispose();
      }
    } catch (error) {
      for (const layer of next) layer.dispose();
      this.dispose();
      throw error;
    }
    this.#dropViews();
    this.#memory = next;
    this.#slots = room;
    this.#capacity = capacity;
    this.length = length;
  }

  /** Frees its memory; the rows are gone. */
  override dispose(): void {
    this.#dropViews();
    for (const layer of this.#memory) layer.dispose();
    this.#memory = [];
    this.#lengths.length = 0;
    this.#slots = this.#capacity = this.length = 0;
  }
}
