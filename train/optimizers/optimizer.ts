/**
 * What an optimizer is: the interface, parameter groups, and state as PyTorch numbers it.
 * @module
 */

import { Tensor } from "../../autograd/mod.ts";

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
  /** What it is the state of, such as "AdamW"; no other optimizer takes it. Absent: not known. */
  optimizer?: string;
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
  /** Continues from a state, bit for bit. @throws {TypeError} if it is of another optimizer, groups or sizes */
  loadStateDict(state: OptimizerStateDict): void;
  /** Frees the device memory of the state. */
  dispose(): void;
  /**
   * Whether `step` does the same launches in every step, with what changes in device buffers, so that the Trainer may
   * record steps (see `captureStep`). Default false.
   */
  readonly isCapturable?: boolean;
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
