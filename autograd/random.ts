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

/** @internal A seed, as it is. @throws {RangeError} for anything but an integer from 0 to 2^53 - 1 */
export function checkSeed(seed: number): number {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`Cannot seed: an integer from 0 to 2^53 - 1 is required, received ${seed}`);
  }
  return seed;
}
