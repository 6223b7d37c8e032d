/**
 * The AdamW update (Loshchilov and Hutter 2019) of many tensors in few launches, with the numbers of
 * `torch.optim.AdamW`: decoupled weight decay, bias correction, `sqrt(v) / sqrt(1 - beta2^t) + eps`.
 * @module
 */

import { adamwKernel } from "../../kernels/adamw.ts";
import { adamwCorrections } from "../../kernels/step_counts.ts";
import type { Tensor } from "../tensor.ts";
import { SlotState } from "./_slot_state.ts";

/** What the coming step of one tensor uses; `step` counts from 1. */
export interface AdamWValues {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly step: number;
}

/** Stands for ln(0), as kernels may assume that no infinity occurs: its exponential is 0. */
const LOG_OF_ZERO = -1e4;

/** First and second moments of the gradients of a list of tensors. */
export class AdamWState {
  readonly #state: SlotState;

  /** @throws {TypeError} for a tensor that is not float32 @throws {RangeError} for no tensor */
  constructor(params: readonly Tensor[]) {
    this.#state = new SlotState("make AdamW", params, 2, adamwCorrections);
  }

  /** Launches a step takes when every tensor has a gradient. */
  get launches(): number {
    return this.#state.launches;
  }

  /** Makes what a step on `grads` needs: see `SlotState.reserve`. */
  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[] {
    return this.#state.reserve(grads, clipped);
  }

  /**
   * Writes the numbers of the coming step, computed in float64; a replay of a captured step does it again.
   * @param advance counts the step; `valuesOf` is asked after it   @param active tensors that have a gradient
   */
  prepare(advance: () => void, valuesOf: (index: number) => AdamWValues, active?: readonly boolean[]): void {
    this.#state.writeHyper(advance, (index) => {
      const { lr, betas: [beta1, beta2], eps, weightDecay, step } = valuesOf(index);
      const sqrtCorrection2 = Math.sqrt(1 - beta2 ** step);
      const stepSize = lr / (1 - beta1 ** step);
      return [1 - lr * weightDecay, stepSize, sqrtCorrection2, eps, 1 - beta1, beta2, 1 - beta2, 0];
    }, (index) => {
      const { lr, betas: [beta1, beta2], step } = valuesOf(index);
      return [step, lr, Math.max(LOG_OF_ZERO, Math.log(beta1)), Math.max(LOG_OF_ZERO, Math.log(beta2))];
    }, active);
  }

  /** Steps of each tensor that were skipped. */
  readSkipped(): Promise<number[]> {
    return this.#state.readSkipped();
  }

  /**
   * Updates the tensors; those whose gradient is null stay as they are.
   * @param clip [2] from `gradNorm()`: its coefficient multiplies the gradients, and a norm that is not finite leaves
   * tensors and moments as they are
   */
  launch(grads: readonly (Tensor | null)[], clip?: Tensor): void {
    this.#state.launch(adamwKernel, grads, clip);
  }

  /** m and v of tensor `index`; null where no step has touched it. */
  async read(index: number): Promise<{ m: Float32Array<ArrayBuffer>; v: Float32Array<ArrayBuffer> } | null> {
    const blocks = await this.#state.read(index);
    return blocks && { m: blocks[0], v: blocks[1] };
  }

  /** Overwrites m and v of tensor `index`. */
  write(index: number, m: Float32Array<ArrayBuffer>, v: Float32Array<ArrayBuffer>): void {
    this.#state.write(index, [m, v]);
  }

  /** Gives its device memory back. */
  dispose(): void {
    this.#state.dispose();
  }
}
