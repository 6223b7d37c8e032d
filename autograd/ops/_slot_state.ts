/**
 * What an optimizer keeps on the device for each of its tensors, and the values that change from step to step.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import type { SlotKernel } from "../../kernels/tensor_slots.ts";
import { full, type Tensor } from "../tensor.ts";
import { untracked } from "../scope.ts";
import { checkOptimized, type OptimizerState, type StateKind } from "./_optimizer_state.ts";
import type { StateLayout } from "./_slot_layout.ts";
import { launchSlots, packTensors, type SlotPack, spareTensors } from "./_slot_packs.ts";
import { StepNumbers, type StepRule } from "./_step_numbers.ts";

/** Threads per workgroup, each of one vec4: the kernels' default. */
const VECTORS_PER_GROUP = 64;

/** Bytes in whole words. */
const roundUp = (bytes: number) => Math.ceil(bytes / 4) * 4;

/** The difference between one optimizer and another. `Values` is what a tensor's coming step depends on. */
export interface UpdateRule<Values> extends StepRule<Values> {
  /** What the caller is doing, for messages: `make AdamW`. */
  readonly action: string;
  /** PyTorch's names of the numbers kept for each element of a tensor, a block of each. */
  readonly names: readonly string[];
  /** How they lie on the device. */
  readonly layout: StateLayout;
  readonly kernel: (slots: number) => SlotKernel;
}

/** The state of a rule whose kernel updates many tensors in a launch. */
export function slotKind<Values>(rule: UpdateRule<Values>): StateKind<Values> {
  return {
    sizes: ({ size }) => Object.fromEntries(rule.names.map((name) => [name, size])),
    make: (params) => new SlotState(params, rule),
  };
}

/** Per-element state in blocks ([block, element] of each launch), made when a launch first needs it. */
export class SlotState<Values> implements OptimizerState<Values> {
  readonly #params: readonly Tensor[];
  readonly #rule: UpdateRule<Values>;
  readonly #blocks: number;
  readonly #packs: readonly SlotPack[];
  readonly #states: (Tensor | null)[];
  readonly #numbers: StepNumbers<Values>;

  /**
   * @param params float32 tensors of one device
   * @throws {TypeError} for a tensor that is not float32, or on another device @throws {RangeError} for no tensor
   */
  constructor(params: readonly Tensor[], rule: UpdateRule<Values>) {
    checkOptimized(rule.action, params);
    const { device } = params[0];
    this.#params = params;
    this.#rule = rule;
    this.#blocks = rule.names.length;
    const buffers = { each: 2, shared: this.#blocks > 0 ? 2 : 1, blocks: this.#blocks };
    this.#packs = packTensors(device, params.map((param) => param.size), buffers);
    this.#states = this.#packs.map(() => null);
    const owners = this.#packs.flatMap(({ pieces }) => pieces.map(({ index }) => index));
    this.#numbers = new StepNumbers(device, rule, owners);
  }

  /** Where the tensors are. */
  get #device(): Device {
    return this.#params[0].device;
  }

  get launches(): number {
    return this.#packs.length;
  }

  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[] {
    const present = this.#packs.map(({ pieces }) => pieces.map(({ index }) => grads[index] !== null));
    if (this.#blocks > 0) present.forEach((some, i) => some.includes(true) && this.#stateOf(i));
    if (clipped) this.#numbers.reserve();
    return () =>
      this.#packs.flatMap((pack, i) =>
        present[i].includes(true) ? spareTensors(this.#device, pack, present[i], 2) : []
      );
  }

  prepare(
    advance: () => void,
    valuesOf: (slot: number) => Values,
    active: readonly boolean[] = this.#params.map(() => true),
  ): void {
    this.#numbers.prepare(advance, valuesOf, (slot) => active[slot]);
  }

  launch(grads: readonly (Tensor | null)[], clip?: Tensor): void {
    const { kernel, layout } = this.#rule;
    const { hyper } = this.#numbers;
    this.#numbers.begin(clip);
    this.#packs.forEach((pack, i) => {
      if (pack.pieces.every(({ index }) => grads[index] === null)) return;
      const state = this.#blocks > 0 ? { state: this.#stateOf(i).view } : undefined;
      launchSlots(this.#device, {
        kernel,
        pack,
        each: { p: this.#params, g: grads },
        written: "p",
        shared: { ...state, hyper: hyper.view },
        params: { ...layout.params(pack, this.#blocks), row: pack.row },
        vectorsPerGroup: VECTORS_PER_GROUP,
      });
    });
  }

  readSkipped(): Promise<number[]> {
    return this.#numbers.readSkipped(this.#params.length);
  }

  async read(slot: number): Promise<Float32Array<ArrayBuffer>[] | null> {
    const { size } = this.#params[slot];
    const blocks = this.#rule.names.map(() => new Float32Array(size));
    for (const { pack, start, block, ranges } of this.#places(slot)) {
      const state = this.#states[pack];
      if (!state) return null;
      const { buffer } = state.view;
      const bytes = await Promise.all(
        ranges.map(({ offset, bytes }) => this.#device.read({ buffer, offset, size: roundUp(bytes) })),
      );
      const exact = bytes.map((read, i) => read.subarray(0, ranges[i].bytes));
      blocks[block].set(this.#rule.layout.decode(exact, block), start);
    }
    return blocks;
  }

  write(slot: number, blocks: readonly Float32Array<ArrayBuffer>[]): void {
    for (const { pack, start, size, block, ranges } of this.#places(slot)) {
      const { buffer } = this.#stateOf(pack).view;
      const parts = this.#rule.layout.encode(blocks[block].subarray(start, start + size), block);
      ranges.forEach(({ offset, bytes }, i) => {
        const whole = new Uint8Array(roundUp(bytes)); // up to the end of a vec4, which is its own
        whole.set(parts[i]);
        this.#device.write({ buffer, offset, size: whole.length }, whole);
      });
    }
  }

  dispose(): void {
    for (const state of this.#states) state?.dispose();
    this.#states.fill(null);
    this.#numbers.dispose();
  }

  #stateOf(pack: number): Tensor {
    const { layout } = this.#rule;
    if (!this.#states[pack]) this.#device.recording?.spoil(); // a replay would make it zero again
    return this.#states[pack] ??= untracked(() =>
      full(this.#device, [layout.words(this.#packs[pack], this.#blocks)], 0)
    );
  }

  /** Where the blocks of a tensor are: elements from `start` on, in byte ranges of the state of a pack. */
  *#places(slot: number) {
    const { layout } = this.#rule;
    const blocks = this.#blocks;
    for (const [pack, { pieces }] of this.#packs.entries()) {
      for (const [place, { index: owner, start, size }] of pieces.entries()) {
        if (owner !== slot) continue;
        for (let block = 0; block < blocks; block++) {
          yield { pack, start, size, block, ranges: layout.ranges(this.#packs[pack], place, blocks, block) };
        }
      }
    }
  }
}
