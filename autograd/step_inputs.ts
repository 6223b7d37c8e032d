/**
 * Inputs of a captured step: tensors whose values the host knows. What reads them may check the values, and the check
 * is made again for the values of each replay.
 * @module
 */

import { type Shape, showShape } from "./shape.ts";
import type { Storage, Tensor } from "./tensor.ts";

/** Checks values, row-major; throws if they cannot be used. */
type Check = (values: Int32Array) => void;

const inputs = new WeakMap<Storage, StepInputValues>();

/** Values of one input and what they have to fulfil. */
export class StepInputValues {
  readonly #checks = new Map<string, Check>();
  values: Int32Array<ArrayBuffer>;

  constructor(tensor: Tensor, values: Int32Array<ArrayBuffer>) {
    this.values = values;
    inputs.set(tensor.storage, this);
  }

  /** Checks `values` under `key`, now and before each replay. */
  require(key: string, check: Check): void {
    check(this.values);
    this.#checks.set(key, check);
  }

  /** Checks the values of a replay. */
  check(values: Int32Array<ArrayBuffer>): void {
    for (const check of this.#checks.values()) check(values);
  }
}

/**
 * Checks the values of `tensor` if it is an input of a captured step; the values of other tensors are only on the
 * device.
 */
export function checkStepInput(tensor: Tensor, key: string, check: Check): void {
  inputs.get(tensor.storage)?.require(key, check);
}

/** Integers in rows, flat. @throws {RangeError} for a value that is not a 32-bit integer */
export function flatIntegers(
  name: string,
  rows: readonly (readonly number[])[],
  shape: Shape,
): Int32Array<ArrayBuffer> {
  const flat = rows.flat();
  const bad = flat.findIndex((value) => (value | 0) !== value);
  if (bad >= 0) {
    throw new RangeError(
      `Cannot run a captured step: 32-bit integers are required as "${name}", received ${flat[bad]} in ${
        showShape(shape)
      } at [${Math.floor(bad / shape[1])}, ${bad % shape[1]}]`,
    );
  }
  return Int32Array.from(flat);
}
