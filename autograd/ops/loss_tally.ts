/**
 * The losses of the steps since the last log, added up on the device.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import { tallyLoss, tallySums } from "../../kernels/loss_tally.ts";
import { untracked } from "../scope.ts";
import { empty, type Tensor } from "../tensor.ts";

/** What happened since the last reset. */
export interface LossReport {
  /** Sum of the losses that are finite. */
  readonly lossSum: number;
  /** Gradient norm of the last step, before clipping. */
  readonly gradNorm: number;
  /** Steps whose loss or gradient norm is not finite. */
  readonly badSteps: number;
  /** The first of them; 0 for none. */
  readonly firstBadStep: number;
  /** Sums of the steps' other numbers, of those that are finite. */
  readonly sums: readonly number[];
}

/** Collects losses without waiting for the device. */
export class LossTally {
  readonly #tally: Tensor;
  readonly #step: Tensor;
  readonly #sums: Tensor | null;

  /** @param sumCount numbers that each step gives beside its loss */
  constructor(device: Device, sumCount = 0) {
    this.#tally = untracked(() => empty(device, [4], "uint32"));
    this.#step = untracked(() => empty(device, [1], "uint32"));
    this.#sums = sumCount > 0 ? untracked(() => empty(device, [sumCount])) : null;
    this.reset();
  }

  /** Writes the number of the coming step, from 1; a replay of a captured step asks for it again. */
  prepare(step: () => number): void {
    this.#step.write(Uint32Array.of(step()), () => Uint32Array.of(step()));
  }

  /**
   * Adds a step's loss (one element) and looks at its gradient norm, as in `clip` of `gradNorm()`.
   * @param values float32 [sumCount], added to their sums
   */
  add(loss: Tensor, clip: Tensor, values?: Tensor): void {
    loss.device.dispatch(
      tallyLoss,
      { loss: loss.view, clip: clip.view, step: this.#step.view, tally: this.#tally.view },
      {},
    );
    if (!this.#sums || !values) return;
    const [size] = this.#sums.shape;
    loss.device.dispatch(tallySums, { values: values.view, sums: this.#sums.view }, { size });
  }

  /** Reads it back, all in one submission. */
  async read(): Promise<LossReport> {
    const [bits, sums] = await Promise.all([
      this.#tally.data() as Promise<Uint32Array<ArrayBuffer>>,
      this.#sums?.data(),
    ]);
    const [lossSum, gradNorm] = new Float32Array(bits.buffer, bits.byteOffset, 2);
    return { lossSum, gradNorm, badSteps: bits[2], firstBadStep: bits[3], sums: [...sums ?? []] };
  }

  /** Starts again from zero. */
  reset(): void {
    this.#tally.write(new Uint32Array(4));
    this.#sums?.write(new Float32Array(this.#sums.size));
  }

  /** Releases its device memory. */
  dispose(): void {
    this.#tally.dispose();
    this.#step.dispose();
    this.#sums?.dispose();
  }
}
