/**
 * What all optimizers share: groups of parameters, their steps, and the state that lies on the device.
 * @module
 */

import { type Tensor, tidy } from "../../autograd/mod.ts";
import type { OptimizerState, StateKind } from "../../autograd/ops/_optimizer_state.ts";
import { loadGroups } from "./load_groups.ts";
import type { GroupState, OptimizerGroup, OptimizerStateDict, StepOptions } from "./optimizer.ts";

/** One state in a step. */
interface ActivePart<Values> {
  readonly state: OptimizerState<Values>;
  /** Numbers of its parameters, and their gradients. */
  readonly indices: readonly number[];
  readonly grads: readonly (Tensor | null)[];
  /** Numbers of those that have a gradient. */
  readonly active: readonly number[];
}

/** How the state of each parameter is kept. */
export type KindOf<Values> = (param: Tensor) => StateKind<Values>;

/** State on the device for the parameters that took a step, made together for those that have none yet. */
class StateParts<Values> {
  readonly #params: readonly Tensor[];
  readonly #kindOf: KindOf<Values>;
  readonly #parts: { readonly state: OptimizerState<Values>; readonly indices: readonly number[] }[] = [];
  readonly #places = new Map<number, { readonly state: OptimizerState<Values>; readonly slot: number }>();

  constructor(params: readonly Tensor[], kindOf: KindOf<Values>) {
    this.#params = params;
    this.#kindOf = kindOf;
  }

  /**
   * The states of parameters that have a gradient now, with all the memory that the step takes.
   * @throws {OutOfDeviceMemoryError} before anything is changed
   */
  prepareStep(clipped: boolean): ActivePart<Values>[] {
    this.add(this.#params.flatMap(({ grad }, index) => grad ? [index] : []));
    const parts = this.#parts.map(({ state, indices }) => {
      const grads = indices.map((index) => this.#params[index].grad);
      return { state, indices, grads, active: indices.filter((_, slot) => grads[slot] !== null) };
    }).filter(({ active }) => active.length > 0);
    const claims = parts.map(({ state, grads }) => state.reserve(grads, clipped));
    tidy(() => void claims.map((claim) => claim())); // taken together and freed again: the launches then find it idle
    return parts;
  }

  /** Steps of each parameter that were skipped on the device. */
  async readSkipped(): Promise<number[]> {
    const skipped = this.#params.map(() => 0);
    await Promise.all(this.#parts.map(async ({ state, indices }) => {
      const counts = await state.readSkipped();
      indices.forEach((index, slot) => skipped[index] = counts[slot]);
    }));
    return skipped;
  }

  /** Makes state for those of `indices` that have none. */
  add(indices: readonly number[]): void {
    const fresh = indices.filter((index) => !this.#places.has(index));
    const byKind = new Map<StateKind<Values>, number[]>();
    for (const index of fresh) {
      const kind = this.#kindOf(this.#params[index]);
      byKind.set(kind, [...byKind.get(kind) ?? [], index]);
    }
    for (const [kind, indices] of byKind) {
      const state = kind.make(indices.map((index) => this.#params[index]));
      this.#parts.push({ state, indices });
      indices.forEach((index, slot) => this.#places.set(index, { state, slot }));
    }
  }

  /** Every state with the numbers of its parameters. */
  get parts(): readonly { readonly state: OptimizerState<Values>; readonly indices: readonly number[] }[] {
    return this.#parts;
  }

  /** Where the state of a parameter is. */
  place(index: number): { readonly state: OptimizerState<Values>; readonly slot: number } | undefined {
    return this.#places.get(index);
  }

  /** Disposes all of it. */
  dispose(): void {
    for (const { state } of this.#parts.splice(0)) state.dispose();
    this.#places.clear();
  }
}

/** Options of the groups, with numbers in place of parameters. */
function groupStates(groups: readonly { readonly params: readonly Tensor[] }[]): GroupState[] {
  let next = 0;
  return groups.map((group) => ({ ...group, params: group.params.map(() => next++) }));
}

/** An optimizer whose steps depend on a group's options and the step's number. */
export class DeviceOptimizer<Group extends OptimizerGroup & Omit<Values, "step">, Values> {
  readonly #groups: readonly Group[];
  readonly #sizes: readonly Readonly<Record<string, number>>[];
  readonly #params: readonly Tensor[];
  readonly #groupOf: readonly Group[];
  readonly #steps: number[];
  readonly #states: StateParts<Values>;

  /** State is made when a parameter takes its first step. */
  constructor(groups: readonly Group[], kindOf: KindOf<Values>) {
    this.#groups = groups;
    this.#params = groups.flatMap((group) => group.params);
    this.#groupOf = groups.flatMap((group) => group.params.map(() => group));
    this.#steps = this.#params.map(() => 0);
    this.#sizes = this.#params.map((param) => kindOf(param).sizes(param));
    this.#states = new StateParts(this.#params, kindOf);
  }

  /** Launches that a step takes when every parameter that ever had a gradient has one. */
  get launches(): number {
    return this.#states.parts.reduce((sum, { state }) => sum + state.launches, 0);
  }

  /** See `Optimizer.step`. */
  step({ clip }: StepOptions): void {
    for (const { state, indices, grads, active } of this.#states.prepareStep(clip !== undefined)) {
      const values = (slot: number) => {
        const index = indices[slot];
        return { ...this.#groupOf[index], step: Math.max(1, this.#steps[index]) } as unknown as Values;
      };
      const advance = () => active.forEach((index) => this.#steps[index]++);
      state.prepare(advance, values, grads.map((grad) => grad !== null));
      state.launch(grads, clip);
    }
  }

  /** See `Optimizer.zeroGrad`. */
  zeroGrad(): void {
    for (const param of this.#params) {
      param.grad?.dispose();
      param.grad = null;
    }
  }

  /** See `Optimizer.stateDict`. */
  async stateDict(): Promise<OptimizerStateDict> {
    const steps = [...this.#steps];
    const [skipped, ...read] = await Promise.all([
      this.#states.readSkipped(),
      ...steps.map((step, index) => {
        const place = this.#states.place(index);
        return place && step > 0 ? place.state.read(place.slot) : null;
      }),
    ]);
    const state: OptimizerStateDict["state"] = new Map();
    read.forEach((blocks, index) => {
      const step = steps[index] - skipped[index];
      if (step === 0 || !blocks) return;
      const buffers = Object.fromEntries(Object.keys(this.#sizes[index]).map((name, i) => [name, blocks[i]]));
      state.set(index, { step, buffers });
    });
    return { state, paramGroups: groupStates(this.#groups) };
  }

  /** See `Optimizer.loadStateDict`. */
  loadStateDict(loaded: OptimizerStateDict): void {
    loadGroups(this.#groups, loaded, (index) => this.#sizes[index]);
    this.#states.dispose();
    this.#states.add([...loaded.state.keys()].sort((a, b) => a - b));
    this.#steps.fill(0);
    for (const [index, { step, buffers }] of loaded.state) {
      const { state, slot } = this.#states.place(index)!;
      state.write(slot, Object.keys(this.#sizes[index]).map((name) => buffers[name]));
      this.#steps[index] = step;
    }
  }

  /** See `Optimizer.dispose`. */
  dispose(): void {
    this.#states.dispose();
  }
}
