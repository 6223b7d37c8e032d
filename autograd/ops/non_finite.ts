/**
 * Which of many tensors has an infinity or NaN, found on the device and read back once.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import { flagNonFinite } from "../../kernels/non_finite.ts";
import { untracked } from "../scope.ts";
import { empty, type Tensor } from "../tensor.ts";
import { flatWindows } from "../windows.ts";

/** Tensors that one search looks at. */
const CAPACITY = 65536;

/** A search in progress. */
export class NonFiniteSearch<Name> {
  readonly #flags: Tensor;
  readonly #names: Name[] = [];

  /** Looks at nothing yet. */
  constructor(device: Device) {
    this.#flags = untracked(() => empty(device, [CAPACITY], "uint32"));
    this.#flags.write(new Uint32Array(CAPACITY));
  }

  /** Looks at the values that float32 `x` has now; passed over past 65,536 tensors, and where it is of another type. */
  look(x: Tensor, name: Name): void {
    if (x.dtype !== "float32" || x.size === 0 || this.#names.length === CAPACITY) return;
    const index = this.#names.push(name) - 1;
    for (const { size, views: [view] } of flatWindows(x)) {
      x.device.dispatch(flagNonFinite, { x: view, flags: this.#flags.view }, { size, index });
    }
  }

  /** Names of those that were not finite, in the order they were looked at. The search is over. */
  async found(): Promise<Name[]> {
    try {
      const flags = await this.#flags.data();
      return this.#names.filter((_, index) => flags[index] !== 0);
    } finally {
      this.#flags.dispose();
    }
  }
}
