/**
 * Inputs of a captured step: tensors whose values the host knows. What reads them may check the values, and the check
 * is made again for the values of each replay.
 * @module
 */

import { nestedShape, type Shape, showShape } from "./shape.ts";
import type { Storage, Tensor } from "./tensor.ts";

/**
 * Rows of an input of a captured step: integers, or numbers where each row is a Float32Array.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { captureStep, embedding, multiply, type StepInput, Tensor } from "@peft/webgpu/tensor";
 *
 * const table = Tensor.from([[1, 1], [2, 2], [3, 3]], { device: await initDevice() });
 * const lookUp = captureStep(table.device, ({ ids, factors }) => multiply(embedding(ids, table), factors));
 * const ids: StepInput = [[2, 0]], factors: StepInput = [Float32Array.of(1, 10)]; // int32 [1, 2], float32 [1, 2]
 * console.log(await lookUp({ ids, factors }).data()); // [3, 30, 1, 10]
 * ```
 */
export type StepInput = readonly (readonly number[])[] | readonly Float32Array[];

/** Values of an input as one array. */
export interface FlatInput {
  readonly data: Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
  readonly shape: Shape;
}

/** Checks values, row-major; throws if they cannot be used. */
type Check = (values: Int32Array) => void;

const inputs = new WeakMap<Storage, StepInputValues>();

/** Values of one input and what they have to fulfil. */
export class StepInputValues {
  readonly #checks = new Map<string, Check>();
  values: FlatInput["data"];

  constructor(tensor: Tensor, values: FlatInput["data"]) {
    this.values = values;
    inputs.set(tensor.storage, this);
  }

  /** Checks `values` under `key`, now and before each replay. */
  require(key: string, check: Check): void {
    check(this.values as Int32Array); // only integers are checked
    this.#checks.set(key, check);
  }

  /** Checks the values of a replay. */
  check(values: FlatInput["data"]): void {
    for (const check of this.#checks.values()) check(values as Int32Array);
  }
}

/**
 * Checks the values of `tensor` if it is an input of a captured step; the values of other tensors are only on the
 * device.
 */
export function checkStepInput(tensor: Tensor, key: string, check: Check): void {
  inputs.get(tensor.storage)?.require(key, check);
}

/** Rows as one array. @throws {RangeError} for an integer of more than 32 bits @throws {TypeError} for ragged rows */
export function flatInput(name: string, rows: StepInput): FlatInput {
  if (rows[0] instanceof Float32Array) {
    return { data: flatNumbers(rows as readonly Float32Array[]), shape: [rows.length, rows[0].length] };
  }
  const shape = nestedShape(rows);
  return { data: flatIntegers(name, rows as readonly (readonly number[])[], shape), shape };
}

function flatNumbers(rows: readonly Float32Array[]): Float32Array<ArrayBuffer> {
  const [{ length }] = rows;
  const flat = new Float32Array(rows.length * length);
  rows.forEach((row, r) => {
    if (row.length !== length) {
      throw new TypeError(
        `Cannot run a captured step: rows of one length are required, received ${length} numbers in row 0 and ${row.length} in row ${r}`,
      );
    }
    flat.set(row, r * length);
  });
  return flat;
}

function flatIntegers(
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
