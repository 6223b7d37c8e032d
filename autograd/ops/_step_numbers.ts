/**
 * The numbers of an optimizer's coming step on the device: those of each tensor, the clip coefficient, and how many
 * steps were skipped there.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import type { StepCountKernel } from "../../kernels/step_counts.ts";
import { untracked } from "../scope.ts";
import { empty, full, type Tensor } from "../tensor.ts";

/** Numbers of a row in `hyper`. */
const ROW_SIZE = 8;

/** How a tensor's step becomes numbers. `Values` is what it depends on. */
export interface StepRule<Values> {
  /** What depends on the number of steps that were not skipped; null if nothing does. */
  readonly correction: StepCountKernel | null;
  /** Eight numbers for a tensor's step, computed in float64. */
  row(values: Values): readonly number[];
  /** Four numbers for a tensor that `correction` reads, the step's number first. */
  counts(values: Values): readonly number[];
}

function zeroCounts(device: Device, rows: number): Tensor {
  return untracked(() => {
    const counts = empty(device, [rows], "uint32");
    counts.write(new Uint32Array(rows));
    return counts;
  });
}

/** The numbers of every row; several rows may be of one tensor. */
export class StepNumbers<Values> {
  /** float32 [4 + 8 rows]: clip coefficient and norm, then each row. */
  readonly hyper: Tensor;
  readonly #rule: StepRule<Values>;
  readonly #owners: readonly number[];
  readonly #host: Float32Array<ArrayBuffer>;
  /** What the correction reads, float32 [rows, 4]; and steps skipped, uint32 [rows]: made with the first clipped step. */
  #counts: Tensor | null = null;
  #skipped: Tensor | null = null;

  /** @param owners for each row the number of its tensor */
  constructor(device: Device, rule: StepRule<Values>, owners: readonly number[]) {
    this.#rule = rule;
    this.#owners = owners;
    this.#host = new Float32Array(4 + ROW_SIZE * owners.length);
    this.hyper = untracked(() => full(device, [this.#host.length], 0));
  }

  /** Makes what a clipped step needs. @throws {OutOfDeviceMemoryError} before anything is changed */
  reserve(): void {
    const { device } = this.hyper;
    if (!this.#rule.correction || this.#skipped) return;
    device.recording?.spoil(); // a replay would make it zero again
    const rows = this.#owners.length;
    const counts = untracked(() => full(device, [rows, 4], 0));
    try {
      this.#skipped = zeroCounts(device, rows);
      this.#counts = counts;
    } catch (error) {
      counts.dispose();
      throw error;
    }
  }

  /**
   * Writes the numbers of the coming step, in order with commands appended before. A replay of a captured step does it
   * again.
   * @param advance counts the step   @param valuesOf what each tensor's step depends on, asked for after it
   * @param active whether a tensor has a gradient
   */
  prepare(
    advance: () => void,
    valuesOf: (index: number) => Values,
    active: (index: number) => boolean = () => true,
  ): void {
    const values = () => {
      advance();
      this.#host.set([1, 0, 0, 0]);
      this.#owners.forEach((index, row) =>
        this.#host.set(this.#rule.row(valuesOf(index)), 4 + ROW_SIZE * row)
      );
      return this.#host;
    };
    this.hyper.write(values(), values);
    if (!this.#counts) return;
    const counts = new Float32Array(this.#counts.size);
    const fill = () => {
      this.#owners.forEach((index, row) =>
        active(index) && counts.set(this.#rule.counts(valuesOf(index)), 4 * row)
      );
      return counts;
    };
    this.#counts.write(fill(), fill);
  }

  /** Appends what a step begins with. @param clip [2], from `gradNorm()` */
  begin(clip: Tensor | undefined): void {
    const { device } = this.hyper;
    if (clip) device.copy(clip.view, this.hyper.window(0, 8));
    const { correction } = this.#rule;
    if (!this.#skipped || !this.#counts || !correction) return;
    device.dispatch(
      correction,
      { counts: this.#counts.view, hyper: this.hyper.view, skipped: this.#skipped.view },
      { rows: this.#skipped.size },
    );
  }

  /** Steps of each tensor that changed nothing, because the gradient norm was not finite. */
  async readSkipped(tensors: number): Promise<number[]> {
    const counts = new Array<number>(tensors).fill(0);
    const rows = await this.#skipped?.data();
    if (rows) this.#owners.forEach((index, row) => counts[index] = rows[row]);
    return counts;
  }

  /** Releases its device memory. */
  dispose(): void {
    this.hyper.dispose();
    this.#counts?.dispose();
    this.#skipped?.dispose();
    this.#counts = this.#skipped = null;
  }
}
