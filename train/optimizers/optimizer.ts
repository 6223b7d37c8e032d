/**
 * What an optimizer is: the interface, parameter groups, and state as PyTorch numbers it.
 * @module
 */

import { Tensor } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";

/**
 * Options of `step()`.
 *
 * @example
 * ```ts
 * import { initDevice, SGD, Tensor } from "@peft/webgpu";
 * import { multiply } from "@peft/webgpu/tensor";
 * import { gradNorm, type StepOptions } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const x = Tensor.from([30], { requiresGrad: true }), optimizer = new SGD([x], { lr: 1 });
 * multiply(x, x).backward();
 * const clipped: StepOptions = { clip: gradNorm([x.grad!], 1).clip };
 * optimizer.step(clipped);
 * console.log(await x.item()); // 29: the gradient of 60 was clipped to 1
 * ```
 */
export interface StepOptions {
  /**
   * [2], from `gradNorm()`: gradients are multiplied by its coefficient as they are read, without an extra pass.
   * Where its norm is not finite, parameters and state stay as they are.
   */
  clip?: Tensor;
}

/**
 * Parameters that share options.
 *
 * @example
 * ```ts
 * import type { Optimizer, OptimizerGroup } from "@peft/webgpu/train";
 *
 * // divides all learning rates, as after a loss that has stopped falling
 * function slowDown({ paramGroups }: Optimizer, divisor: number): void {
 *   paramGroups.forEach((group: OptimizerGroup) => group.lr /= divisor);
 * }
 * ```
 */
export interface OptimizerGroup {
  /** The parameters. */
  readonly params: readonly Tensor[];
  /** Learning rate; may change between steps. */
  lr: number;
  /** Weight decay. */
  weightDecay: number;
}

/**
 * State of one parameter.
 *
 * @example
 * ```ts
 * import type { OptimizerStateDict, ParameterState } from "@peft/webgpu/train";
 *
 * // bytes that an optimizer's state takes in a checkpoint
 * function bytesOf({ state }: OptimizerStateDict): number {
 *   const bytes = ({ buffers }: ParameterState) =>
 *     Object.values(buffers).reduce((sum, { byteLength }) => sum + byteLength, 0);
 *   return [...state.values()].reduce((sum, one) => sum + bytes(one), 0);
 * }
 * ```
 */
export interface ParameterState {
  /** Steps it took. */
  step: number;
  /** Numbers for each of its elements, by PyTorch's names, such as `exp_avg`. */
  buffers: Record<string, Float32Array<ArrayBuffer>>;
}

/**
 * Options of a group in a state; `params` are numbers, counted through the groups.
 *
 * @example
 * ```ts
 * import { AdamW, initDevice, Tensor } from "@peft/webgpu";
 * import type { GroupState } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const { paramGroups } = await new AdamW([Tensor.from([1], { requiresGrad: true })], { lr: 0.1 }).stateDict();
 * const [first]: GroupState[] = paramGroups;
 * console.log(first.params, first.lr); // [ 0 ] 0.1
 * ```
 */
export type GroupState = { params: number[] } & Record<string, unknown>;

/**
 * State of an optimizer on the host.
 *
 * @example
 * ```ts
 * import { AdamW, initDevice, Tensor } from "@peft/webgpu";
 * import type { OptimizerStateDict } from "@peft/webgpu/train";
 *
 * await initDevice();
 * const params = [Tensor.from([1, 2], { requiresGrad: true })];
 * const saved: OptimizerStateDict = await new AdamW(params, { lr: 1e-3 }).stateDict();
 * new AdamW(params, { lr: 5e-4 }).loadStateDict(saved); // goes on where the first was, bit for bit
 * ```
 */
export interface OptimizerStateDict {
  /** By the parameter's number; only parameters that took a step. */
  state: Map<number, ParameterState>;
  /** The groups. */
  paramGroups: GroupState[];
  /** What it is the state of, such as "AdamW"; no other optimizer takes it. Absent: not known. */
  optimizer?: string;
}

/**
 * Trains parameters by their gradients.
 *
 * @example
 * ```ts
 * import type { Tensor } from "@peft/webgpu";
 * import type { Optimizer } from "@peft/webgpu/train";
 *
 * // one step of a loop of one's own
 * function update(optimizer: Optimizer, loss: Tensor): void {
 *   loss.backward();
 *   optimizer.step();
 *   optimizer.zeroGrad();
 * }
 * ```
 */
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

/**
 * A group as a caller gives it: options it leaves out are the optimizer's.
 *
 * @example
 * ```ts
 * import { AdamW, AutoModelForCausalLM } from "@peft/webgpu";
 * import type { AdamWOptions, GroupInput } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const all = [...model.parameters()];
 * const matrices: GroupInput<AdamWOptions> = { params: all.filter(({ shape }) => shape.length > 1), weightDecay: 0.1 };
 * const vectors: GroupInput<AdamWOptions> = { params: all.filter(({ shape }) => shape.length === 1), weightDecay: 0 };
 * const optimizer = new AdamW([matrices, vectors], { lr: 3e-4 });
 * console.log(optimizer.paramGroups.map(({ lr, weightDecay }) => [lr, weightDecay])); // [[0.0003, 0.1], [0.0003, 0]]
 * ```
 */
export type GroupInput<O> = { params: Iterable<Tensor> } & Partial<O>;

/**
 * Parameters, or groups of them with options of their own.
 *
 * @example
 * ```ts
 * import { AdamW, initDevice, SGD, Tensor } from "@peft/webgpu";
 * import type { Params, SGDOptions } from "@peft/webgpu/train";
 *
 * await initDevice();
 * // the optimizer that a setting asks for
 * const optimizerFor = (params: Params<SGDOptions>, lr: number, plain: boolean) =>
 *   plain ? new SGD(params, { lr }) : new SGD(params, { lr, momentum: 0.9, nesterov: true });
 * optimizerFor([Tensor.from([1], { requiresGrad: true })], 0.1, false);
 * ```
 */
export type Params<O> = Iterable<Tensor> | Iterable<GroupInput<O>>;

const isIterable = (value: unknown): value is Iterable<unknown> =>
  typeof (value as Iterable<unknown> | null | undefined)?.[Symbol.iterator] === "function";

/** What a caller gave in place of parameters. */
function nameOf(value: unknown): string {
  if (Array.isArray(value)) {
    return typeof value[0] === "string" ? "pairs of a name and a parameter" : "a list";
  }
  return value === null || typeof value !== "object" ? String(value) : `a ${value.constructor?.name}`;
}

/** The tensors that `params` must be. */
function tensorsOf(action: string, params: unknown): Tensor[] {
  const all: readonly unknown[] = isIterable(params) ? [...params] : [params];
  const wrong = all.filter((param) => !(param instanceof Tensor));
  if (wrong.length === 0) return all as Tensor[];
  throw new TypeError(
    `Cannot ${action}: tensors, such as model.parameters(), or groups { params } of them are required, received ${
      nameOf(wrong[0])
    }`,
  );
}

/**
 * @internal Groups with all their options.
 * @param options what the caller gave beside   @param defaults of all options, by their names
 * @throws {RangeError} for no parameter at all
 * @throws {TypeError} for a parameter that comes twice, what is no parameter, or an option that does not exist
 */
export function toGroups<O extends object>(
  action: string,
  params: Params<O>,
  options: object,
  defaults: O,
): ({ params: Tensor[] } & O)[] {
  const names = Object.keys(defaults);
  checkOptions(action, options, names);
  const items: readonly (Tensor | GroupInput<O>)[] = isIterable(params)
    ? [...params]
    : tensorsOf(action, params);
  const plain: Tensor[] = [];
  const groups: { params: Iterable<Tensor> }[] = [];
  for (const item of items) {
    if (item instanceof Tensor) plain.push(item);
    else if (Array.isArray(item) || item === null || typeof item !== "object") tensorsOf(action, [item]);
    else groups.push(item);
  }
  if (plain.length > 0 && groups.length > 0) {
    throw new TypeError(`Cannot ${action}: either tensors or groups are required, received both`);
  }
  if (plain.length > 0) groups.push({ params: plain });
  const seen = new Set<Tensor>();
  const result = groups.map((group) => {
    checkOptions(action, group, ["params", ...names]);
    const own = tensorsOf(action, group.params);
    for (const param of own) {
      if (seen.has(param)) {
        throw new TypeError(`Cannot ${action}: each parameter may come once, received one twice`);
      }
      seen.add(param);
    }
    const set = Object.entries(group).filter(([, value]) => value !== undefined);
    return { ...defaults, ...Object.fromEntries(set), params: own };
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
