/**
 * The losses of the last steps, collected on the device.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import { TALLY_STEPS, tallyLoss, tallySums } from "../../kernels/loss_tally.ts";
import { untracked } from "../scope.ts";
import { empty, type Tensor } from "../tensor.ts";

export { TALLY_STEPS };

/** What happened since the last reset. */
export interface LossReport {
  /** The loss of each step, in order; NaN where it or the gradient norm is not finite. */
  readonly losses: readonly number[];
  /** Gradient norm of the last step, before clipping. */
  readonly gradNorm: number;
  /** Steps whose loss or gradient norm is not finite. */
  readonly badSteps: number;
  /** The first of them; 0 for none. */
  readonly firstBadStep: number;
  /** The other numbers of each step, in order; 0 for those that are not finite. */
  readonly sums: readonly (readonly number[])[];
}

/** Collects the losses of up to 16 steps without waiting for the device. */
export class LossTally {
  readonly #tally: Tensor;
  readonly #step: Tensor;
  readonly #sums: Tensor | null;

  /** @param sumCount numbers that each step gives beside its loss */
  constructor(device: Device, sumCount = 0) {
    this.#tally = untracked(() => empty(device, [4 + TALLY_STEPS], "uint32"));
    this.#step = untracked(() => empty(device, [1], "uint32"));
    this.#sums = sumCount > 0 ? untracked(() => empty(device, [TALLY_STEPS, sumCount])) : null;
    this.reset();
  }

  /** Writes the number of the coming step, from 1; a replay of a captured step asks for it again. */
  prepare(step: () => number): void {
    this.#step.write(Uint32Array.of(step()), () => Uint32Array.of(step()));
  }

  /**
   * Keeps a step's loss (one element) and looks at its gradient norm, as in `clip` of `gradNorm()`.
   * @param values float32 [sumCount], kept too
   */
  add(loss: Tensor, clip: Tensor, values?: Tensor): void {
    loss.device.dispatch(
      tallyLoss,
      { loss: loss.view, clip: clip.view, step: this.#step.view, tally: this.#tally.view },
      {},
    );
    if (!this.#sums || !values) return;
    const [, size] = this.#sums.shape;
    const views = { values: values.view, step: this.#step.view, sums: this.#sums.view };
    loss.device.dispatch(tallySums, views, { size });
  }

  /**
   * Reads it back, all in one submission.
   * @param last number of the last step   @param count steps since the last reset
   * @throws {RangeError} for more steps than it holds
   */
  async read(last: number, count: number): Promise<LossReport> {
    if (count > TALLY_STEPS) {
      throw new RangeError(`Cannot read losses: at most ${TALLY_STEPS} steps are held, received ${count}`);
    }
    const [bits, sums] = await Promise.all([
      this.#tally.data() as Promise<Uint32Array<ArrayBuffer>>,
      this.#sums?.data(),
    ]);
    const values = new Float32Array(bits.buffer, bits.byteOffset, bits.length);
    const size = this.#sums?.shape[1] ?? 0;
    const slots = Array.from({ length: count }, (_, i) => (last - count + i) % TALLY_STEPS);
    return {
      ...{ gradNorm: values[1], badSteps: bits[2], firstBadStep: bits[3] },
      losses: slots.map((slot) => values[4 + slot]),
      sums: slots.map((slot) => [...sums?.subarray(slot * size, (slot + 1) * size) ?? []]),
    };
  }

  /** Starts again from zero. */
  reset(): void {
    this.#tally.write(new Uint32Array(4 + TALLY_STEPS));
    this.#sums?.write(new Float32Array(this.#sums.size));
  }

  /** Releases its device memory. */
  dispose(): void {
    this.#tally.dispose();
    this.#step.dispose();
    this.#sums?.dispose();
  }
}
