/**
 * Where the rows of a file are: eight bytes a row, so that files of millions of rows need little memory.
 * @module
 */

/** Rows that share one full offset. */
const SHARED = 1024;

/** A list of 32-bit numbers that grows. */
class Numbers {
  length = 0;
  #values = new Uint32Array(1024);

  /** Makes room for `count` numbers in all. */
  reserve(count: number): void {
    if (count <= this.#values.length) return;
    const grown = new Uint32Array(count);
    grown.set(this.#values);
    this.#values = grown;
  }

  push(value: number): void {
    if (this.length === this.#values.length) {
      const grown = new Uint32Array(Math.ceil(this.length * 1.5));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index];
  }
}

/** Numbers, offsets and lengths of rows, in their order. */
export class RowPlaces {
  readonly #shared: number[] = [];
  readonly #offsets = new Numbers();
  readonly #lengths = new Numbers();
  /** Rows from which on the number of a row less its index is another: [index, difference] one after another. */
  readonly #shifts: number[] = [];

  /** Rows. */
  get length(): number {
    return this.#offsets.length;
  }

  /** Makes room for `count` rows in all. */
  reserve(count: number): void {
    this.#offsets.reserve(count);
    this.#lengths.reserve(count);
  }

  /** Adds a row behind those before it. */
  add(number: number, offset: number, length: number): void {
    const index = this.length;
    if (index % SHARED === 0) this.#shared.push(offset);
    this.#offsets.push(offset - this.#shared.at(-1)!);
    this.#lengths.push(length);
    if (number - index !== (this.#shifts.at(-1) ?? NaN)) this.#shifts.push(index, number - index);
  }

  /** The number of a row. */
  numberOf(index: number): number {
    let [low, high] = [0, this.#shifts.length / 2];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#shifts[2 * middle] <= index) low = middle;
      else high = middle;
    }
    return index + this.#shifts[2 * low + 1];
  }

  /** Where a row is. */
  placeOf(index: number): { readonly offset: number; readonly length: number } {
    const offset = this.#shared[Math.floor(index / SHARED)] + this.#offsets.at(index);
    return { offset, length: this.#lengths.at(index) };
  }
}
