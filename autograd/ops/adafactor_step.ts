/**
 * The Adafactor update (Shazeer and Stern 2018, arXiv:1804.04235), with the numbers of `transformers.Adafactor`; see
 * kernels/adafactor.ts.
 * @module
 */

import {
  adafactorApply,
  adafactorColumns,
  adafactorFinish,
  adafactorRows,
  adafactorSquares,
  CHUNK_ROWS,
} from "../../kernels/adafactor.ts";
import { adafactorDecay } from "../../kernels/step_counts.ts";
import { tidy, untracked } from "../scope.ts";
import { showShape } from "../shape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { flatWindows, rowWindows } from "../windows.ts";
import { checkOptimized, type OptimizerState, type StateKind } from "./_optimizer_state.ts";
import { StepNumbers, type StepRule } from "./_step_numbers.ts";

/** What the coming step of one tensor uses. */
export interface AdafactorValues {
  readonly lr: number;
  /** Added to the squares of gradients. */
  readonly eps: number;
  /** The largest root mean square of an update. */
  readonly clipThreshold: number;
  /** Exponent of the step's number; negative. */
  readonly decayRate: number;
  readonly weightDecay: number;
  /** Its number from 1. */
  readonly step: number;
}

const rule: StepRule<AdafactorValues> = {
  correction: adafactorDecay,
  row({ lr, eps, clipThreshold, decayRate, weightDecay, step }) {
    const fresh = step ** decayRate;
    return [lr, 1 - fresh, fresh, eps, clipThreshold, 1 - lr * weightDecay, 0, 0];
  },
  counts: ({ decayRate, step }) => [step, decayRate, 0, 0],
};

/** A tensor as [batches, rows, columns]; a vector has no rows. */
interface Matrices {
  readonly batches: number;
  readonly rows: number;
  readonly columns: number;
}

function matricesOf({ shape, size }: Tensor): Matrices {
  if (shape.length < 2) return { batches: 1, rows: 0, columns: size };
  const [rows, columns] = shape.slice(-2);
  return { batches: size / (rows * columns), rows, columns };
}

/** Elements whose squares one workgroup adds up at least, */
const MIN_PER_GROUP = 1024;
/** and workgroups of a window at most. */
const MAX_GROUPS = 256;

const groupsOf = (size: number) => Math.min(MAX_GROUPS, Math.ceil(size / MIN_PER_GROUP));

/** Ranges of a tensor that can be bound, whole rows where it has rows. */
function windowsOf(tensor: Tensor, { batches, rows, columns }: Matrices) {
  if (rows === 0) {
    let first = 0;
    return flatWindows(tensor).map(({ size, views: [view] }) => {
      first += size;
      return { first: first - size, size, view };
    });
  }
  const windows = rowWindows(tensor, batches * rows, columns);
  if (windows.length > 1 && batches > 1) {
    throw new RangeError(
      `Cannot make Adafactor: tensors of three axes must fit one binding, received ${
        showShape(tensor.shape)
      }`,
    );
  }
  return windows.map(({ first, count, views: [view] }) => ({ first, size: count * columns, view }));
}

/** Averages of squares of each tensor. */
class AdafactorState implements OptimizerState<AdafactorValues> {
  readonly #params: readonly Tensor[];
  readonly #matrices: readonly Matrices[];
  readonly #states: (Tensor | null)[];
  readonly #numbers: StepNumbers<AdafactorValues>;

  constructor(params: readonly Tensor[]) {
    checkOptimized("make Adafactor", params);
    this.#params = params;
    this.#matrices = params.map(matricesOf);
    params.forEach((param, slot) => windowsOf(param, this.#matrices[slot]));
    this.#states = params.map(() => null);
    this.#numbers = new StepNumbers(params[0].device, rule, params.map((_, slot) => slot));
  }

  get launches(): number {
    return this.#params.reduce((sum, param, slot) => {
      const windows = windowsOf(param, this.#matrices[slot]).length;
      return sum + (this.#matrices[slot].rows > 0 ? 4 * windows + 1 : 2 * windows);
    }, 0);
  }

  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[] {
    grads.forEach((grad, slot) => grad && this.#stateOf(slot));
    if (clipped) this.#numbers.reserve();
    return () => this.#temporaries(grads);
  }

  prepare(
    advance: () => void,
    valuesOf: (slot: number) => AdafactorValues,
    active: readonly boolean[] = this.#params.map(() => true),
  ): void {
    this.#numbers.prepare(advance, valuesOf, (slot) => active[slot]);
  }

  launch(grads: readonly (Tensor | null)[], clip?: Tensor): void {
    this.#numbers.begin(clip);
    tidy(() => {
      const temporaries = this.#temporaries(grads);
      grads.forEach((grad, slot) => grad && this.#update(slot, grad, temporaries));
    });
  }

  readSkipped(): Promise<number[]> {
    return this.#numbers.readSkipped(this.#params.length);
  }

  async read(slot: number): Promise<Float32Array<ArrayBuffer>[] | null> {
    const values = await this.#states[slot]?.data() as Float32Array<ArrayBuffer> | undefined;
    if (!values) return null;
    const sizes = Object.values(adafactorKind.sizes(this.#params[slot]));
    return sizes.map((size, i) => values.slice(i * sizes[0], i * sizes[0] + size));
  }

  write(slot: number, blocks: readonly Float32Array<ArrayBuffer>[]): void {
    const state = this.#stateOf(slot);
    const values = new Float32Array(state.size);
    blocks.forEach((block, i) => values.set(block, i * blocks[0].length));
    state.write(values);
  }

  dispose(): void {
    for (const state of this.#states) state?.dispose();
    this.#states.fill(null);
    this.#numbers.dispose();
  }

  /** Tensors for one parameter's sums, of which one after another is updated: each as large as the largest needs. */
  #temporaries(grads: readonly (Tensor | null)[]): Tensor[] {
    const all = grads.flatMap((grad, slot) => grad ? [this.#temporarySizes(slot)] : []);
    return [0, 1, 2].map((kind) =>
      empty(this.#params[0].device, [Math.max(1, ...all.map((sizes) => sizes[kind]))])
    );
  }

  /** Numbers of the sums of columns, of u's squares, and of the means of rows. */
  #temporarySizes(slot: number): [number, number, number] {
    const { batches, rows, columns } = this.#matrices[slot];
    const groups = windowsOf(this.#params[slot], this.#matrices[slot]).map(({ size }) => groupsOf(size));
    const chunks = Math.ceil(rows / CHUNK_ROWS);
    return [batches * chunks * columns, groups.reduce((sum, count) => sum + count), batches];
  }

  #stateOf(slot: number): Tensor {
    const { device } = this.#params[0];
    if (!this.#states[slot]) device.recording?.spoil(); // a replay would make it zero again
    const { batches, rows, columns } = this.#matrices[slot];
    return this.#states[slot] ??= untracked(() => full(device, [batches * (rows + columns)], 0));
  }

  #update(slot: number, grad: Tensor, temporaries: readonly Tensor[]): void {
    const [param, matrices, row] = [this.#params[slot], this.#matrices[slot], slot];
    const { device } = param;
    const { batches, rows, columns } = matrices;
    const hyper = this.#numbers.hyper.view;
    const state = this.#stateOf(slot).view;
    const [partial, squares, means] = temporaries.map(({ view }) => view);
    const windows = windowsOf(param, matrices);
    const gradients = windowsOf(grad, matrices);
    const FACTORED = rows > 0 ? 1 : 0;
    if (FACTORED) {
      const chunks = Math.ceil(rows / CHUNK_ROWS);
      for (const { first, size, view: g } of gradients) {
        const count = size / columns;
        device.dispatch(adafactorRows, { g, state, hyper }, { rows: count, columns, first, row });
        device.dispatch(adafactorColumns, { g, partial, hyper }, {
          ...{ batches, rows: count / batches, columns, chunk: first / CHUNK_ROWS, chunks },
        });
      }
      device.dispatch(adafactorFinish, { partial, state, means, hyper }, {
        ...{ batches, rows, columns, chunks, row },
      });
    }
    const shape = { batches, rows, columns, row };
    let offset = 0;
    for (const { first, size, view: g } of gradients) {
      const groups = groupsOf(size);
      const buffers = { g, state, means, squares, hyper };
      device.dispatch(adafactorSquares, buffers, { size, first, ...shape, offset, groups }, { FACTORED });
      offset += groups;
    }
    windows.forEach(({ first, size, view: p }, i) => {
      const buffers = { p, g: gradients[i].view, state, means, squares, hyper };
      const counts = { count: offset, total: param.size };
      device.dispatch(adafactorApply, buffers, { size, first, ...shape, ...counts }, { FACTORED });
    });
  }
}

/** Keeps the averages of a matrix's rows and columns, of a vector whole. */
export const adafactorKind: StateKind<AdafactorValues> = {
  sizes(param): Record<string, number> {
    const { batches, rows, columns } = matricesOf(param);
    if (rows === 0) return { exp_avg_sq: param.size };
    return { exp_avg_sq_row: batches * rows, exp_avg_sq_col: batches * columns };
  },
  make: (params) => new AdafactorState(params),
};
