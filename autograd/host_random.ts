/**
 * Random numbers on the host, by the generator of the device (Philox4x32-10).
 * @module
 */

import { checkSeed } from "./random.ts";

/**
 * A random stream of uniform and normal numbers on the host: initial weights, data order, sampling.
 *
 * @example
 * ```ts
 * import { HostRandom } from "@peft/webgpu/tensor";
 *
 * const random = new HostRandom(7);
 * console.log(random.uniform(), random.normal()); // the same on every machine
 * ```
 */
export class HostRandom {
  #key: [number, number];
  #counter = 0;
  #words: number[] = [];

  /** The same seed gives the same numbers on every machine. */
  constructor(seed: number) {
    checkSeed(seed);
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32)];
  }

  /** 32 random bits. */
  nextWord(): number {
    if (this.#words.length === 0) {
      const counter = [this.#counter >>> 0, Math.floor(this.#counter / 2 ** 32), 0, 1];
      this.#words = philox4x32(counter, this.#key);
      this.#counter++;
    }
    return this.#words.shift()!;
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    return ((this.nextWord() >>> 5) * 2 ** 26 + (this.nextWord() >>> 6)) / 2 ** 53;
  }

  /** Normal with mean 0 and standard deviation 1 (Box and Muller 1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Uniform integer in [0, n). */
  integer(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** `size` normal numbers times `std`. */
  normals(size: number, std: number): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: size }, () => this.normal() * std);
  }

  /** `size` uniform numbers in [-bound, bound). */
  uniforms(size: number, bound: number): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: size }, () => (this.uniform() * 2 - 1) * bound);
  }

  /** 0..n-1 in random order (Fisher and Yates). */
  permutation(n: number): number[] {
    return this.shuffle(Array.from({ length: n }, (_, i) => i));
  }

  /** Puts the numbers of an array into random order (Fisher and Yates); gives it back. */
  shuffle<Numbers extends { [index: number]: number; readonly length: number }>(order: Numbers): Numbers {
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const last = order[i];
      order[i] = order[j];
      order[j] = last;
    }
    return order;
  }
}

function multiply32(a: number, b: number): [high: number, low: number] {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = a1 * b0 + ((a0 * b0) >>> 16);
  const middle = a0 * b1 + (low % 0x10000);
  return [(a1 * b1 + Math.floor(low / 0x10000) + Math.floor(middle / 0x10000)) >>> 0, Math.imul(a, b) >>> 0];
}

/**
 * Philox4x32-10: four random words of a 128-bit counter under a 64-bit key (Salmon et al. 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"). The same function as the kernels'.
 */
export function philox4x32(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply32(0xd2511f53, c0);
    const [high1, low1] = multiply32(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}
