/**
 * What optimizers have in common: the interface, parameter groups, and state as PyTorch numbers it.
 * @module
 */

import { Tensor, tidy } from "../autograd/mod.ts";

/** Options of `step()`. */
export interface StepOptions {
  /**
   * [2], from `gradNorm()`: gradients are multiplied by its coefficient as they are read, without an extra pass.
   * Where its norm is not finite, parameters and state stay as they are.
   */
  clip?: Tensor;
}

/** Parameters that share options. */
export interface OptimizerGroup {
  /** The parameters. */
  readonly params: readonly Tensor[];
  /** Learning rate; may change between steps. */
  lr: number;
  /** Weight decay. */
  weightDecay: number;
}

/** State of one parameter. */
export interface ParameterState {
  /** Steps it took. */
  step: number;
  /** Numbers for each of its elements, by PyTorch's names, such as `exp_avg`. */
  buffers: Record<string, Float32Array<ArrayBuffer>>;
}

/** Options of a group in a state; `params` are numbers, counted through the groups. */
export type GroupState = { params: number[] } & Record<string, unknown>;

/** State of an optimizer on the host. */
export interface OptimizerStateDict {
  /** By the parameter's number; only parameters that took a step. */
  state: Map<number, ParameterState>;
  /** The groups. */
  paramGroups: GroupState[];
}

/** Trains parameters by their gradients. */
export interface Optimizer {
  /** The groups; schedules change their `lr`. */
  readonly paramGroups: readonly OptimizerGroup[];
  /** Updates every parameter that has a gradient. */
  step(options?: StepOptions): void;
  /** Disposes every gradient. */
  zeroGrad(): void;
  /** Reads the state back from the device. */
  stateDict(): Promise<OptimizerStateDict>;
  /** Continues from a state, bit for bit. @throws {TypeError} if it is of other groups or sizes */
  loadStateDict(state: OptimizerStateDict): void;
  /** Frees the device memory of the state. */
  dispose(): void;
}

/** A group as a caller gives it: options it leaves out are the optimizer's. */
export type GroupInput<O> = { params: Iterable<Tensor> } & Partial<O>;

/** Parameters, or groups of them with options of their own. */
export type Params<O> = Iterable<Tensor> | Iterable<GroupInput<O>>;

/**
 * @internal Groups with all their options.
 * @throws {RangeError} for no parameter at all @throws {TypeError} for a parameter that comes twice
 */
export function toGroups<O extends object>(
  action: string,
  params: Params<O>,
  defaults: O,
): ({ params: Tensor[] } & O)[] {
  const items: readonly (Tensor | GroupInput<O>)[] = [...params];
  const plain: Tensor[] = [];
  const groups: { params: Iterable<Tensor> }[] = [];
  for (const item of items) {
    if (item instanceof Tensor) plain.push(item);
    else groups.push(item);
  }
  if (plain.length > 0 && groups.length > 0) {
    throw new TypeError(`Cannot ${action}: either tensors or groups are required, received both`);
  }
  if (plain.length > 0) groups.push({ params: plain });
  const seen = new Set<Tensor>();
  const result = groups.map((group) => {
    const own = [...group.params];
    for (const param of own) {
      if (seen.has(param)) {
        throw new TypeError(`Cannot ${action}: each parameter may come once, received one twice`);
      }
      seen.add(param);
    }
    const given = Object.entries(group).filter(([, value]) => value !== undefined);
    return { ...defaults, ...Object.fromEntries(given), params: own };
  });
  if (seen.size === 0) {
    throw new RangeError(`Cannot ${action}: at least one parameter is required, received none`);
  }
  return result;
}

/** @internal Fails unless `value` lies in [low, high). */
export function checkOption(action: string, name: string, value: number, low: number, high: number): void {
  if (value >= low && value < high) return;
  const range = high === Infinity ? `at least ${low}` : `from ${low} to below ${high}`;
  throw new RangeError(`Cannot ${action}: ${name} must be ${range}, received ${value}`);
}

/** What `StateParts` needs of a state. */
interface PartState {
  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[];
  readSkipped(): Promise<number[]>;
  dispose(): void;
}

/** One state in a step. */
export interface ActivePart<S> {
  readonly state: S;
  /** Numbers of its parameters, and their gradients. */
  readonly indices: readonly number[];
  readonly grads: readonly (Tensor | null)[];
  /** Numbers of those that have a gradient. */
  readonly active: readonly number[];
}

/** @internal State on the device for the parameters that took a step, made together for those that have none yet. */
export class StateParts<S extends PartState> {
  readonly #params: readonly Tensor[];
  readonly #make: (params: Tensor[]) => S;
  readonly #parts: { readonly state: S; readonly indices: readonly number[] }[] = [];
  readonly #places = new Map<number, { readonly state: S; readonly slot: number }>();

  constructor(params: readonly Tensor[], make: (params: Tensor[]) => S) {
    this.#params = params;
    this.#make = make;
  }

  /**
   * The states of parameters that have a gradient now, with all the memory that the step takes.
   * @throws {OutOfDeviceMemoryError} before anything is changed
   */
  prepareStep(clipped: boolean): ActivePart<S>[] {
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
    if (fresh.length === 0) return;
    const state = this.#make(fresh.map((index) => this.#params[index]));
    this.#parts.push({ state, indices: fresh });
    fresh.forEach((index, slot) => this.#places.set(index, { state, slot }));
  }

  /** Every state with the numbers of its parameters. */
  get parts(): readonly { readonly state: S; readonly indices: readonly number[] }[] {
    return this.#parts;
  }

  /** Where the state of a parameter is. */
  place(index: number): { readonly state: S; readonly slot: number } | undefined {
    return this.#places.get(index);
  }

  /** Disposes all of it. */
  dispose(): void {
    for (const { state } of this.#parts.splice(0)) state.dispose();
    this.#places.clear();
  }
}

/** @internal Options of the groups, with numbers in place of parameters. */
export function groupStates(groups: readonly { readonly params: readonly Tensor[] }[]): GroupState[] {
  let next = 0;
  return groups.map((group) => ({ ...group, params: group.params.map(() => next++) }));
}

/**
 * @internal Takes over the options of a state's groups.
 * @throws {TypeError} unless groups and sizes are those of the optimizer; nothing is taken over then
 */
export function loadGroups(
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
