/**
 * What AdamW and SGD share: groups of parameters, their steps, and the state that lies on the device.
 * @module
 */

import { type Tensor, tidy } from "../../autograd/mod.ts";
import { SlotState, type UpdateRule } from "../../autograd/ops/_slot_state.ts";
import type { GroupState, OptimizerGroup, OptimizerStateDict, StepOptions } from "./optimizer.ts";

/** One state in a step. */
interface ActivePart<Values> {
  readonly state: SlotState<Values>;
  /** Numbers of its parameters, and their gradients. */
  readonly indices: readonly number[];
  readonly grads: readonly (Tensor | null)[];
  /** Numbers of those that have a gradient. */
  readonly active: readonly number[];
}

/** The rule of each parameter. */
export type RuleOf<Values> = (param: Tensor) => UpdateRule<Values>;

/** State on the device for the parameters that took a step, made together for those that have none yet. */
class StateParts<Values> {
  readonly #params: readonly Tensor[];
  readonly #ruleOf: RuleOf<Values>;
  readonly #parts: { readonly state: SlotState<Values>; readonly indices: readonly number[] }[] = [];
  readonly #places = new Map<number, { readonly state: SlotState<Values>; readonly slot: number }>();

  constructor(params: readonly Tensor[], ruleOf: RuleOf<Values>) {
    this.#params = params;
    this.#ruleOf = ruleOf;
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
    const byRule = new Map<UpdateRule<Values>, number[]>();
    for (const index of fresh) {
      const rule = this.#ruleOf(this.#params[index]);
      byRule.set(rule, [...byRule.get(rule) ?? [], index]);
    }
    for (const [rule, indices] of byRule) {
      const state = new SlotState(indices.map((index) => this.#params[index]), rule);
      this.#parts.push({ state, indices });
      indices.forEach((index, slot) => this.#places.set(index, { state, slot }));
    }
  }

  /** Every state with the numbers of its parameters. */
  get parts(): readonly { readonly state: SlotState<Values>; readonly indices: readonly number[] }[] {
    return this.#parts;
  }

  /** Where the state of a parameter is. */
  place(index: number): { readonly state: SlotState<Values>; readonly slot: number } | undefined {
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

/**
 * Takes over the options of a state's groups.
 * @throws {TypeError} unless groups and sizes are those of the optimizer; nothing is taken over then
 */
function loadGroups(
  groups: readonly { readonly params: readonly Tensor[] }[],
  { paramGroups, state }: OptimizerStateDict,
  names: readonly string[],
): void {
  const counts = (all: readonly { readonly params: readonly unknown[] }[]) =>
    all.map(({ params }) => params.length).join(", ");
  if (counts(groups) !== counts(paramGroups)) {
    throw new TypeError(
      `Cannot load the optimizer's state: groups of ${counts(groups)} parameters are required, received ${
        counts(paramGroups)
      }`,
    );
  }
  const params = groups.flatMap(({ params }) => params);
  for (const [index, { buffers }] of state) {
    for (const name of names) {
      const received = buffers[name]?.length;
      if (params[index] && received === params[index].size) continue;
      throw new TypeError(
        `Cannot load the optimizer's state: "${name}" of parameter ${index} must have ${
          params[index]?.size ?? 0
        } elements, received ${received ?? "none"}`,
      );
    }
  }
  groups.forEach((group, i) => {
    const { params: _, ...options } = paramGroups[i];
    Object.assign(group, options);
  });
}

/** An optimizer whose rules read a group's options and the step's number. */
export class DeviceOptimizer<Group extends OptimizerGroup & Omit<Values, "step">, Values> {
  readonly #groups: readonly Group[];
  readonly #names: readonly string[];
  readonly #params: readonly Tensor[];
  readonly #groupOf: readonly Group[];
  readonly #steps: number[];
  readonly #states: StateParts<Values>;

  /** `names` are PyTorch's for the blocks that the rule keeps. */
  constructor(groups: readonly Group[], ruleOf: RuleOf<Values>, names: readonly string[]) {
    this.#groups = groups;
    this.#names = names;
    this.#params = groups.flatMap((group) => group.params);
    this.#groupOf = groups.flatMap((group) => group.params.map(() => group));
    this.#steps = this.#params.map(() => 0);
    this.#states = new StateParts(this.#params, ruleOf);
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
        return this.#names.length > 0 && place && step > 0 ? place.state.read(place.slot) : null;
      }),
    ]);
    const state: OptimizerStateDict["state"] = new Map();
    read.forEach((blocks, index) => {
      const step = steps[index] - skipped[index];
      if (step === 0 || this.#names.length > 0 && !blocks) return;
      const buffers = Object.fromEntries(this.#names.map((name, i) => [name, blocks![i]]));
      state.set(index, { step, buffers });
    });
    return { state, paramGroups: groupStates(this.#groups) };
  }

  /** See `Optimizer.loadStateDict`. */
  loadStateDict(loaded: OptimizerStateDict): void {
    loadGroups(this.#groups, loaded, this.#names);
    this.#states.dispose();
    this.#states.add([...loaded.state.keys()].sort((a, b) => a - b));
    this.#steps.fill(0);
    for (const [index, { step, buffers }] of loaded.state) {
      const { state, slot } = this.#states.place(index)!;
      if (this.#names.length > 0) state.write(slot, this.#names.map((name) => buffers[name]));
      this.#steps[index] = step;
    }
  }

  /** See `Optimizer.dispose`. */
  dispose(): void {
    this.#states.dispose();
  }
}
