/**
 * State of the counter-based generator (Philox4x32-10) on the device. A random number depends only on (seed, step,
 * call, element): masks are recomputed instead of stored, and a resumed run continues the same numbers.
 * @module
 */

import type { Device } from "../gpu/mod.ts";
import { untracked } from "./scope.ts";
import { allocate, empty, type Tensor, unallocated } from "./tensor.ts";

let seedOfAll = 0;

/**
 * Sets the seed that models, adapters, sampling and data loaders start from when no seed is given, as `set_seed` of
 * `transformers` does; 0 before the first call. What exists already keeps its own.
 * @param seed an integer from 0 to 2^53 - 1 @throws {RangeError} otherwise
 *
 * @example
 * ```ts
 * import { GPT2Config, GPT2LMHeadModel, initDevice, setSeed } from "@peft/webgpu";
 *
 * setSeed(42);
 * const config = new GPT2Config({ vocabSize: 64, nPositions: 16, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 });
 * const model = new GPT2LMHeadModel(config, { device: await initDevice() }); // the same weights each time
 * console.log(model.forward({ inputIds: [[1, 2]] }).logits.shape); // [1, 2, 64]
 * ```
 */
export function setSeed(seed: number): void {
  seedOfAll = checkSeed(seed);
}

/** The seed that `setSeed` set, or 0. */
export function defaultSeed(): number {
  return seedOfAll;
}

/**
 * A place in a stream: its step on the device, and the number of the next random op.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { dropout, type RandomPlace, RandomState, Tensor } from "@peft/webgpu/tensor";
 *
 * const random = new RandomState(await initDevice(), 3);
 * const before: RandomPlace = random.place;
 * dropout(Tensor.from([1, 1]), 0.5, random);
 * console.log(before.call, random.place.call); // 0 1: the next op draws other numbers
 * ```
 */
export interface RandomPlace {
  /** uint32 [4]: the generator's state in that step. */
  readonly tensor: Tensor;
  /** Number of the next random op. */
  readonly call: number;
}

/**
 * One stream of random numbers.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { dropout, RandomState, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from(new Float32Array(8).fill(1));
 * const [a, b] = [new RandomState(x.device, 7), new RandomState(x.device, 7)];
 * console.log(await dropout(x, 0.5, a).data(), await dropout(x, 0.5, b).data()); // the same twice
 * ```
 */
export class RandomState {
  /** The device it lives on. */
  readonly device: Device;
  #tensor: Tensor;
  #seed: number;
  #step = 0;
  #call = 0;
  /** The recording in which its last change was made. */
  #changedIn: Device["recording"] = null;

  /**
   * The first step of the stream.
   * @param seed an integer from 0 to 2^53 - 1
   * @param hasMemory false: it has none until `allocate()`
   * @throws {RangeError} for another seed
   */
  constructor(device: Device, seed: number, hasMemory = true) {
    this.device = device;
    this.#seed = checkSeed(seed);
    this.#tensor = untracked(() => unallocated(device, [4], "uint32"));
    if (hasMemory) this.allocate();
  }

  /** @internal Gives a state that was made without memory its own. */
  allocate(): void {
    allocate(this.#tensor);
    this.#tensor.write(this.#words());
  }

  /** uint32 [4]: seed low, seed high, step, 0. */
  get tensor(): Tensor {
    return this.#tensor;
  }

  /** The seed. */
  get seed(): number {
    return this.#seed;
  }

  /** Starts another stream. */
  set seed(seed: number) {
    checkSeed(seed);
    this.#change(() => {
      this.#seed = seed;
      this.#step = 0;
    });
  }

  /** The step: one more for each training forward. Setting it resumes there. */
  get step(): number {
    return this.#step;
  }

  set step(step: number) {
    this.#change(() => this.#step = step);
  }

  /** Moves on to the next step; a replay of a captured step does so too. */
  advance(): void {
    this.#change(() => this.#step++);
  }

  /** Number of the next random op in this step. */
  nextCall(): number {
    const { recording } = this.device;
    if (recording && recording !== this.#changedIn) recording.spoil(); // another number in each step
    return this.#call++;
  }

  /** @internal Where the stream is. Whoever keeps the tensor keeps a handle of its own. */
  get place(): RandomPlace {
    return { tensor: this.#tensor, call: this.#call };
  }

  /** @internal Runs `body`, which must not be asynchronous, with the stream at `place` again; then it is where it was. */
  from<T>(place: RandomPlace, body: () => T): T {
    const before = this.place;
    [this.#tensor, this.#call] = [place.tensor, place.call];
    try {
      return body();
    } finally {
      [this.#tensor, this.#call] = [before.tensor, before.call];
    }
  }

  /** Releases the state's memory. */
  dispose(): void {
    this.#tensor.dispose();
  }

  #words(): Uint32Array<ArrayBuffer> {
    return Uint32Array.of(this.#seed >>> 0, Math.floor(this.#seed / 2 ** 32), this.#step, 0);
  }

  /** Makes a change here and on the device; a replay of a captured step makes it again. */
  #change(change: () => void): void {
    change();
    this.#call = 0;
    if (this.#tensor.isShared) { // a backward pass that has not run yet reads the old step
      const { device } = this.#tensor;
      this.#tensor.dispose();
      this.#tensor = untracked(() => empty(device, [4], "uint32"));
    }
    this.#tensor.write(this.#words(), () => {
      change();
      return this.#words();
    });
    this.#changedIn = this.device.recording;
    // A replay writes to this tensor, so nothing that runs later may still read its old value.
    this.#changedIn?.require(() => this.#tensor.isDisposed || this.#tensor.isShared ? NaN : this.#tensor);
  }
}

function checkSeed(seed: number): number {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`Cannot seed: an integer from 0 to 2^53 - 1 is required, received ${seed}`);
  }
  return seed;
}

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
