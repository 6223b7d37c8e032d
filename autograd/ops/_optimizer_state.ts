/**
 * What an optimizer keeps on the device for some of its parameters, whatever it is.
 * @module
 */

import { showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** State of some parameters, and their step. `Values` is what a parameter's step depends on. */
export interface OptimizerState<Values> {
  /** Launches that a step takes when every parameter has a gradient. */
  readonly launches: number;
  /**
   * Makes the state that a step needs, so that `prepare` and `launch` need none that may be refused.
   * @returns a function that takes the memory that the launches use temporarily, to be called once all states are made
   * @throws {OutOfDeviceMemoryError} before anything is changed
   */
  reserve(grads: readonly (Tensor | null)[], clipped: boolean): () => Tensor[];
  /**
   * Writes the numbers of the coming step, in order with commands appended before. A replay of a captured step does it
   * again.
   * @param advance counts the step   @param valuesOf what each tensor's step depends on, asked for after it
   * @param active tensors that have a gradient; default all
   */
  prepare(advance: () => void, valuesOf: (slot: number) => Values, active?: readonly boolean[]): void;
  /**
   * Appends the launches of a step; tensors whose gradient is null stay as they are.
   * @param clip [2], from `gradNorm()`: gradients are multiplied by its coefficient; where its norm is not finite,
   * tensors and state stay as they are
   */
  launch(grads: readonly (Tensor | null)[], clip?: Tensor): void;
  /** Steps of each tensor that changed nothing, because the gradient norm was not finite. */
  readSkipped(): Promise<number[]>;
  /** What is kept of one tensor, read back, in the order of `StateKind.sizes`; null where no step has touched it. */
  read(slot: number): Promise<Float32Array<ArrayBuffer>[] | null>;
  /** Overwrites it. */
  write(slot: number, blocks: readonly Float32Array<ArrayBuffer>[]): void;
  /** Releases its device memory. */
  dispose(): void;
}

/** One way of keeping state. */
export interface StateKind<Values> {
  /** How many numbers it keeps for a parameter, by PyTorch's names. */
  sizes(param: Tensor): Readonly<Record<string, number>>;
  /** Makes it for some parameters. */
  make(params: readonly Tensor[]): OptimizerState<Values>;
}

/**
 * Fails for a tensor that no optimizer can update.
 * @throws {TypeError} for a tensor that is not float32, or on another device @throws {RangeError} for no tensor
 */
export function checkOptimized(action: string, params: readonly Tensor[]): void {
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
}
