/**
 * Copies of base weights that merging changes, so that unmerging is exact to the bit.
 * @module
 */

import { type Tensor, untracked } from "../../autograd/mod.ts";
import type { Parameter } from "../../nn/mod.ts";

/** The values some parameters had before the first merge. */
export class OriginalWeights {
  readonly #copies = new Map<Parameter, Tensor>();

  /** Copies the parameters that have no copy yet. */
  keep(...parameters: readonly Parameter[]): void {
    for (const parameter of parameters) {
      if (!this.#copies.has(parameter)) this.#copies.set(parameter, untracked(() => parameter.copy()));
    }
  }

  /** Restores every value and frees the copies. */
  restore(): void {
    for (const [parameter, copy] of this.#copies) parameter.device.copy(copy.view, parameter.view);
    this.forget();
  }

  /** Frees the copies: what is merged stays. */
  forget(): void {
    for (const copy of this.#copies.values()) copy.dispose();
    this.#copies.clear();
  }
}
