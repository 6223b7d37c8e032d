/**
 * The update of stochastic gradient descent of many tensors in few launches, with the numbers of `torch.optim.SGD`.
 * @module
 */

import { sgdKernel, sgdMomentumKernel } from "../../kernels/sgd.ts";
import { sgdFirstStep } from "../../kernels/step_counts.ts";
import type { Tensor } from "../tensor.ts";
import { SlotState } from "./_slot_state.ts";

/** What the coming step of one tensor uses. */
export interface SGDValues {
  readonly lr: number;
  readonly momentum: number;
  readonly dampening: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
  /** Its number from 1: in the first one, the momentum buffer becomes the gradient itself. */
  readonly step: number;
}

/** Momentum buffers of a list of tensors. */
export class SGDState {
  readonly #state: SlotState;
  readonly #kernel: typeof sgdKernel;

  /**
   * @param hasMomentum whether buffers are kept at all
   * @throws {TypeError} for a tensor that is not float32 @throws {RangeError} for no tensor
   */
  constructor(params: readonly Tensor[], hasMomentum: boolean) {
    this.#state = new SlotState("make SGD", params, hasMomentum ? 1 : 0, hasMomentum ? sgdFirstStep : null);
    this.#kernel = hasMomentum ? sgdMomentumKernel : sgdKernel;
  }

  /** Launches a step takes when every tensor has a gradient. */
  get launches(): number {
    return this.#state.launches;
  }

  /** Makes what a step on `grads` needs: see `SlotState.reserve`. */
  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[] {
    return this.#state.reserve(grads, clipped);
  }

  /** Writes the numbers of the coming step; arguments as those of `AdamWState.prepare`. */
  prepare(advance: () => void, valuesOf: (index: number) => SGDValues, active?: readonly boolean[]): void {
    this.#state.writeHyper(advance, (index) => {
      const { lr, momentum, dampening, weightDecay, nesterov, step } = valuesOf(index);
      const [keep, take] = step <= 1 ? [0, 1] : [momentum, 1 - dampening];
      const own = nesterov || momentum === 0 ? 1 : 0;
      const past = nesterov ? momentum : momentum === 0 ? 0 : 1;
      return [lr, weightDecay, keep, take, own, past, 0, 0];
    }, (index) => {
      const { momentum, dampening, step } = valuesOf(index);
      return [step, momentum, 1 - dampening, 0];
    }, active);
  }

  /** Steps of each tensor that were skipped; they count where there is momentum. */
  readSkipped(): Promise<number[]> {
    return this.#state.readSkipped();
  }

  /** Updates the tensors; arguments as those of `AdamWState.launch`. */
  launch(grads: readonly (Tensor | null)[], clip?: Tensor): void {
    this.#state.launch(this.#kernel, grads, clip);
  }

  /** The momentum buffer of tensor `index`; null where there is none. */
  async read(index: number): Promise<Float32Array<ArrayBuffer> | null> {
    return (await this.#state.read(index))?.[0] ?? null;
  }

  /** Overwrites the momentum buffer of tensor `index`. */
  write(index: number, buffer: Float32Array<ArrayBuffer>): void {
    this.#state.write(index, [buffer]);
  }

  /** Gives its device memory back. */
  dispose(): void {
    this.#state.dispose();
  }
}
