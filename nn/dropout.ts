/**
 * Dropout that is active while training (`torch.nn.Dropout`).
 * @module
 */

import { checkDropout, dropout, type RandomState, type Tensor } from "../autograd/mod.ts";
import { noteSetting } from "../autograd/settings.ts";
import { Module } from "./module.ts";

/**
 * x [...] -> [...]; the same tensor in eval mode or at p = 0.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Dropout, RandomState, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from(new Float32Array(8).fill(1));
 * const layer = new Dropout(0.5, new RandomState(x.device, 1));
 * console.log(await layer.forward(x).data()); // zeros and twos; all ones after layer.eval()
 * ```
 */
export class Dropout extends Module {
  // Not a private name: `clone()` copies what it finds.
  private probability: number;
  /** Where its random numbers come from, shared by the whole model. */
  readonly random: RandomState;

  /** `random` is the model's. @throws {RangeError} unless 0 <= p <= 1 */
  constructor(p: number, random: RandomState) {
    super();
    this.probability = checkDropout("dropout", p);
    this.random = random;
  }

  /** Probability of zeroing an element. */
  get p(): number {
    return this.probability;
  }

  set p(p: number) {
    noteSetting(this, "p", this.probability, checkDropout("dropout", p));
    this.probability = p;
  }

  /** Whether `forward` changes anything. */
  get isActive(): boolean {
    return this.training && this.p > 0;
  }

  /** x [...] -> [...]. */
  forward(x: Tensor): Tensor {
    return this.isActive ? dropout(x, this.p, this.random) : x;
  }
}
