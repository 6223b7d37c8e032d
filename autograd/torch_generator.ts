/**
 * PyTorch's CPU generator, for numbers that a file leaves out because its seed determines them:
 * `torch.Generator().manual_seed`,
 * `Tensor.uniform_` (float32) and `torch.randperm`. The generator is MT19937 (Matsumoto and Nishimura 1998); how
 * numbers are made of its words is PyTorch's (`aten/src/ATen/core/TransformationHelper.h`,
 * `native/TensorFactories.cpp`).
 * @module
 */

const WORDS = 624;
const SHIFT = 397;

/** A permutation of more elements than this would take 64 bits per draw in PyTorch (2^32 / 20). */
const MAX_PERMUTATION = Math.floor((2 ** 32 - 1) / 20);

/** One stream of 32-bit words. */
export class TorchGenerator {
  readonly #state = new Uint32Array(WORDS);
  #next = WORDS;

  /** `seed` is an integer from 0 to 2^53 - 1, of which PyTorch takes the low 32 bits. @throws {RangeError} otherwise */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`Cannot seed a generator: an integer from 0 is required, received ${seed}`);
    }
    const state = this.#state;
    state[0] = seed % 2 ** 32;
    for (let i = 1; i < WORDS; i++) {
      const previous = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = Math.imul(1812433253, previous) + i;
    }
  }

  /** The next word, 0 to 2^32 - 1. */
  nextWord(): number {
    if (this.#next === WORDS) this.#twist();
    let y = this.#state[this.#next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < WORDS; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % WORDS] & 0x7fffffff);
      state[i] = state[(i + SHIFT) % WORDS] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }

  /** `torch.empty(count).uniform_(-bound, bound)`: 24 bits per number, float32 arithmetic. */
  uniform(count: number, bound: number): Float32Array<ArrayBuffer> {
    const low = Math.fround(-bound);
    const width = Math.fround(Math.fround(bound) - low);
    return Float32Array.from(
      { length: count },
      () => (this.nextWord() & 0xffffff) / 2 ** 24 * width + low, // rounded once: PyTorch's compilers fuse it
    );
  }

  /**
   * The first `count` entries of `torch.randperm(n)`.
   * @throws {RangeError} for more than 2^32 / 20 elements, which PyTorch draws in another way
   */
  permutation(n: number, count: number): number[] {
    if (n > MAX_PERMUTATION || count > n) {
      throw new RangeError(
        `Cannot permute ${n} elements: at most ${MAX_PERMUTATION} and at least the ${count} wanted are required`,
      );
    }
    const moved = new Map<number, number>(); // entries that are not their own index any more
    return Array.from({ length: count }, (_, i) => {
      const j = i + this.nextWord() % (n - i);
      const chosen = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
      moved.delete(i);
      return chosen;
    });
  }
}
