/**
 * What an optimizer keeps on the device for each of its tensors, and the values that change from step to step.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import type { StepCountKernel } from "../../kernels/step_counts.ts";
import type { SlotKernel } from "../../kernels/tensor_slots.ts";
import { showShape } from "../shape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { untracked } from "../scope.ts";
import type { StateLayout } from "./_slot_layout.ts";
import { launchSlots, packTensors, type SlotPack, spareTensors } from "./_slot_packs.ts";

/** Threads per workgroup, each of one vec4: the kernels' default. */
const VECTORS_PER_GROUP = 64;
/** Numbers of a slot in `hyper`. */
const ROW_SIZE = 8;

/** Bytes in whole words. */
const roundUp = (bytes: number) => Math.ceil(bytes / 4) * 4;

function zeroCounts(device: Device, rows: number): Tensor {
  return untracked(() => {
    const counts = empty(device, [rows], "uint32");
    counts.write(new Uint32Array(rows));
    return counts;
  });
}

/** The difference between one optimizer and another. `Values` is what a tensor's coming step depends on. */
export interface UpdateRule<Values> {
  /** What the caller is doing, for messages: `make AdamW`. */
  readonly action: string;
  /** Numbers kept for each element of a tensor. */
  readonly blocks: number;
  /** How they lie on the device. */
  readonly layout: StateLayout;
  readonly kernel: (slots: number) => SlotKernel;
  /** What depends on the number of steps that were not skipped; null if nothing does. */
  readonly correction: StepCountKernel | null;
  /** Eight numbers for a tensor's step, computed in float64. */
  row(values: Values): readonly number[];
  /** Four numbers for a tensor that `correction` reads, the step's number first. */
  counts(values: Values): readonly number[];
}

/** Per-element state in blocks ([block, element] of each launch), made when a launch first needs it. */
export class SlotState<Values> {
  readonly #params: readonly Tensor[];
  readonly #rule: UpdateRule<Values>;
  readonly #packs: readonly SlotPack[];
  readonly #states: (Tensor | null)[];
  readonly #hyper: Tensor;
  readonly #host: Float32Array<ArrayBuffer>;
  /**
   * What the rule's correction reads, float32 [rows, 4]; and steps skipped, uint32 [rows]: made with the first clipped
   * step.
   */
  #counts: Tensor | null = null;
  #skipped: Tensor | null = null;

  /**
   * @param params float32 tensors of one device
   * @throws {TypeError} for a tensor that is not float32, or on another device @throws {RangeError} for no tensor
   */
  constructor(params: readonly Tensor[], rule: UpdateRule<Values>) {
    const { action, blocks } = rule;
    if (params.length === 0) throw new RangeError(`Cannot ${action}: at least one tensor is required`);
    const { device } = params[0];
    for (const { dtype, shape, device: other } of params) {
      if (dtype !== "float32") {
        throw new TypeError(
          `Cannot ${action}: float32 tensors are required, received ${dtype} ${showShape(shape)}`,
        );
      }
      if (other !== device) throw new TypeError(`Cannot ${action}: all tensors must be on one device`);
    }
    this.#params = params;
    this.#rule = rule;
    const buffers = { each: 2, shared: blocks > 0 ? 2 : 1, blocks };
    this.#packs = packTensors(device, params.map((param) => param.size), buffers);
    this.#states = this.#packs.map(() => null);
    const rows = this.#packs.reduce((sum, { pieces }) => sum + pieces.length, 0);
    this.#host = new Float32Array(4 + ROW_SIZE * rows);
    this.#hyper = untracked(() => full(device, [this.#host.length], 0));
  }

  /** Where the tensors are. */
  get device(): Device {
    return this.#hyper.device;
  }

  /** Launches that a step takes when every tensor has a gradient. */
  get launches(): number {
    return this.#packs.length;
  }

  /**
   * Makes the state that a step needs, so that `prepare` and `launch` need none that may be refused.
   * @returns a function that reserves the memory that the launches use temporarily, to be called once all states are
   * made
   * @throws {OutOfDeviceMemoryError} before anything is changed
   */
  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[] {
    const { device } = this;
    const present = this.#packs.map(({ pieces }) => pieces.map(({ index }) => grads[index] !== null));
    if (this.#rule.blocks > 0) present.forEach((some, i) => some.includes(true) && this.#stateOf(i));
    if (clipped && this.#rule.correction && !this.#skipped) {
      device.recording?.spoil(); // a replay would make it zero again
      const rows = (this.#host.length - 4) / ROW_SIZE;
      const counts = untracked(() => full(device, [rows, 4], 0));
      try {
        this.#skipped = zeroCounts(device, rows);
        this.#counts = counts;
      } catch (error) {
        counts.dispose();
        throw error;
      }
    }
    return () =>
      this.#packs.flatMap((pack, i) =>
        present[i].includes(true) ? spareTensors(device, pack, present[i], 2) : []
      );
  }

  /**
   * Writes the numbers of the coming step, in order with commands appended before. A replay of a captured step does it
   * again.
   * @param advance counts the step   @param valuesOf what each tensor's step depends on, asked for after it
   * @param active tensors that have a gradient; default all
   */
  prepare(
    advance: () => void,
    valuesOf: (index: number) => Values,
    active: readonly boolean[] = this.#params.map(() => true),
  ): void {
    const values = () => {
      advance();
      this.#host.set([1, 0, 0, 0]);
      for (const { pieces, row } of this.#packs) {
        pieces.forEach(({ index }, i) =>
          this.#host.set(this.#rule.row(valuesOf(index)), 4 + ROW_SIZE * (row + i))
        );
      }
      return this.#host;
    };
    this.#hyper.write(values(), values);
    if (!this.#counts) return;
    const counts = new Float32Array(this.#counts.size);
    const fill = () => {
      for (const { pieces, row } of this.#packs) {
        pieces.forEach(({ index }, i) =>
          active[index] && counts.set(this.#rule.counts(valuesOf(index)), 4 * (row + i))
        );
      }
      return counts;
    };
    this.#counts.write(fill(), fill);
  }

  /**
   * Appends the launches of a step; tensors whose gradient is null stay as they are.
   * @param clip [2], from `gradNorm()`: gradients are multiplied by its coefficient; where its norm is not finite,
   * tensors and state stay as they are
   */
  launch(grads: readonly (Tensor | null)[], clip?: Tensor): void {
    const { device } = this;
    const { kernel, blocks, correction, layout } = this.#rule;
    if (clip) device.copy(clip.view, this.#hyper.window(0, 8));
    if (this.#skipped && this.#counts && correction) {
      device.dispatch(
        correction,
        { counts: this.#counts.view, hyper: this.#hyper.view, skipped: this.#skipped.view },
        { rows: this.#skipped.size },
      );
    }
    this.#packs.forEach((pack, i) => {
      if (pack.pieces.every(({ index }) => grads[index] === null)) return;
      const state = blocks > 0 ? { state: this.#stateOf(i).view } : undefined;
      launchSlots(device, {
        kernel,
        pack,
        each: { p: this.#params, g: grads },
        written: "p",
        shared: { ...state, hyper: this.#hyper.view },
        params: { ...layout.params(pack, blocks), row: pack.row },
        vectorsPerGroup: VECTORS_PER_GROUP,
      });
    });
  }

  /** Steps of each tensor that changed nothing, because the gradient norm was not finite. */
  async readSkipped(): Promise<number[]> {
    const counts = this.#params.map(() => 0);
    const rows = await this.#skipped?.data();
    for (const { pieces, row } of this.#packs) {
      if (rows) pieces.forEach(({ index }, i) => counts[index] = rows[row + i]);
    }
    return counts;
  }

  /** Each block of tensor `index`, read back; null where no step has touched it. */
  async read(index: number): Promise<Float32Array<ArrayBuffer>[] | null> {
    const { size } = this.#params[index];
    const blocks = Array.from({ length: this.#rule.blocks }, () => new Float32Array(size));
    for (const { pack, start, block, ranges } of this.#places(index)) {
      const state = this.#states[pack];
      if (!state) return null;
      const { buffer } = state.view;
      const bytes = await Promise.all(
        ranges.map(({ offset, bytes }) => this.device.read({ buffer, offset, size: roundUp(bytes) })),
      );
      const exact = bytes.map((read, i) => read.subarray(0, ranges[i].bytes));
      blocks[block].set(this.#rule.layout.decode(exact, block), start);
    }
    return blocks;
  }

  /** Overwrites each block of tensor `index`. */
  write(index: number, blocks: readonly Float32Array<ArrayBuffer>[]): void {
    for (const { pack, start, size, block, ranges } of this.#places(index)) {
      const { buffer } = this.#stateOf(pack).view;
      const parts = this.#rule.layout.encode(blocks[block].subarray(start, start + size), block);
      ranges.forEach(({ offset, bytes }, i) => {
        const whole = new Uint8Array(roundUp(bytes)); // up to the end of a vec4, which is its own
        whole.set(parts[i]);
        this.device.write({ buffer, offset, size: whole.length }, whole);
      });
    }
  }

  /** Releases its device memory. */
  dispose(): void {
    for (const state of this.#states) state?.dispose();
    this.#states.fill(null);
    this.#hyper.dispose();
    this.#counts?.dispose();
    this.#skipped?.dispose();
    this.#counts = this.#skipped = null;
  }

  #stateOf(pack: number): Tensor {
    const { layout, blocks } = this.#rule;
    if (!this.#states[pack]) this.device.recording?.spoil(); // a replay would make it zero again
    return this.#states[pack] ??= untracked(() =>
      full(this.device, [layout.words(this.#packs[pack], blocks)], 0)
    );
  }

  /** Where the blocks of a tensor are: elements from `start` on, in byte ranges of the state of a pack. */
  *#places(index: number) {
    const { layout, blocks } = this.#rule;
    for (const [pack, { pieces }] of this.#packs.entries()) {
      for (const [slot, { index: owner, start, size }] of pieces.entries()) {
        if (owner !== index) continue;
        for (let block = 0; block < blocks; block++) {
          yield { pack, start, size, block, ranges: layout.ranges(this.#packs[pack], slot, blocks, block) };
        }
      }
    }
  }
}
