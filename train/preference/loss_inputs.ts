/**
 * What a loss of preferences needs of a batch: rows for the model, and numbers. On the host for steps that are run, as
 * tensors for those that are recorded, so that one loss serves both.
 * @module
 */

import { type StepInput, Tensor } from "../../autograd/mod.ts";
import type { Batch } from "../data/data_loader.ts";
import type { CaptureInputs } from "../objective.ts";
import type { TrainableModel } from "../trainable_model.ts";

/** Rows as a model's forward takes them: on the host, or as tensors. */
export type ForwardRows = Omit<
  Parameters<TrainableModel["forward"]>[0],
  "numItemsInBatch" | "logProbs" | "meanLogits"
>;

/** The same on the host. */
export interface LossInputs {
  /** Sets of rows, by name. */
  readonly rows: Readonly<Record<string, Batch>>;
  /** Numbers that are not the same in every batch, [R, C] each, by name. */
  readonly numbers: Readonly<Record<string, readonly Float32Array[]>>;
}

/** Numbers as tensors, by name. */
export interface Numbers {
  /** Whether there are any of that name. */
  has(name: string): boolean;
  /** Those of a name, float32 [R, C] on the device of `like`; undefined for none. */
  get(name: string, like: Tensor): Tensor | undefined;
}

/** The same as the loss takes them. */
export interface GivenInputs {
  /** Sets of rows, by name. */
  readonly rows: Readonly<Record<string, ForwardRows>>;
  /** The numbers. */
  readonly numbers: Numbers;
}

const NUMBERS = "numbers";

/** One row of numbers. */
export const oneRow = (values: readonly number[]): Float32Array[] => [Float32Array.from(values)];

/** Inputs for a step that is run. */
export function uploadInputs({ rows, numbers }: LossInputs): GivenInputs {
  return {
    rows,
    numbers: {
      has: (name) => name in numbers,
      get: (name, { device }) => {
        const values = numbers[name];
        if (!values) return undefined;
        const flat = Float32Array.from(values.flatMap((row) => [...row]));
        return Tensor.from(flat, { device, shape: [values.length, values[0].length] });
      },
    },
  };
}

/** Inputs of a step that is recorded; null where one of the models that it asks decides its launches by their values. */
export function captureInputsOf(
  { rows, numbers }: LossInputs,
  models: readonly TrainableModel[],
): CaptureInputs | null {
  const inputs: Record<string, StepInput> = {};
  for (const [set, batch] of Object.entries(rows)) {
    for (const model of models) {
      const own = model.isCapturable ? model.captureInputs?.(batch) : null;
      if (!own) return null;
      for (const [name, values] of Object.entries(own)) inputs[`${set}.${name}`] = values;
    }
  }
  for (const [name, values] of Object.entries(numbers)) inputs[`${NUMBERS}.${name}`] = values;
  return inputs;
}

/** The inputs of a recorded step again. */
export function recordedInputs(inputs: Readonly<Record<string, Tensor>>): GivenInputs {
  const sets: Record<string, Record<string, Tensor>> = {};
  for (const [key, tensor] of Object.entries(inputs)) {
    const [set, name] = key.split(".");
    (sets[set] ??= {})[name] = tensor;
  }
  const { [NUMBERS]: numbers = {}, ...rows } = sets;
  return {
    rows: rows as unknown as Record<string, ForwardRows>,
    numbers: { has: (name) => name in numbers, get: (name) => numbers[name] },
  };
}
