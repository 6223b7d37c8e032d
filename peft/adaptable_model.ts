/**
 * What a PEFT model asks of the model it wraps.
 * @module
 */

import type { Module } from "../nn/mod.ts";

/** A model that can be adapted: any module tree with a forward. */
export type AdaptableModel = Module & {
  // deno-lint-ignore no-explicit-any -- each model has inputs of its own
  forward(inputs: any): unknown;
};

/** What a model's forward takes. */
export type ForwardInputs<M extends AdaptableModel> = Parameters<M["forward"]>[0];
/** The type of a model's `generate`; never if it has none. */
export type Generate<M> = M extends { generate: infer G extends (...args: never[]) => unknown } ? G : never;

/** Adapters for the rows of a batch. */
export interface AdapterRows {
  /** An adapter's name for each row, or "__base__" for none; default: the active adapters for all rows. */
  adapterNames?: readonly string[];
}

/** Switches a model's gradient checkpointing. @throws {TypeError} if it has none */
export function switchCheckpointing(model: Module, on: boolean): void {
  const name = on ? "gradientCheckpointingEnable" : "gradientCheckpointingDisable";
  const method = (model as unknown as Record<string, unknown>)[name];
  if (typeof method !== "function") {
    throw new TypeError(
      `Cannot switch gradient checkpointing: a model with ${name}() is required, received ${model.constructor.name}`,
    );
  }
  method.call(model);
}

/** What training asks of a model beside its forward; each part may be missing. */
export interface TrainingPart {
  neftuneNoiseAlpha?: number | null;
  readonly isCapturable?: boolean;
  captureInputs?(batch: object): Record<string, readonly (readonly number[])[]> | null;
}

/** What a recorded step has of a batch, null where it cannot be recorded; undefined for a model that does not say. */
export type CaptureInputsOf =
  | ((batch: object) => Record<string, readonly (readonly number[])[]> | null)
  | undefined;

/** That part of a model. */
export function trainingPartOf(model: Module): TrainingPart {
  return model as TrainingPart;
}

/** A model's `captureInputs` for a PEFT model: null for every batch with virtual tokens, undefined if it has none. */
export function captureInputsOf(model: Module, addsTokens: boolean): CaptureInputsOf {
  const own = trainingPartOf(model).captureInputs?.bind(model);
  return own && ((batch) => addsTokens ? null : own(batch));
}

/** Fails for a model that has adapters. @throws {TypeError} naming the first module that has some */
export function checkUnwrapped(model: Module): void {
  for (const [path, module] of model.namedModules()) {
    if ("adapterParameters" in module) {
      throw new TypeError(
        `Cannot wrap the model: "${path}" has adapters already; use addAdapter() of the PeftModel it is in`,
      );
    }
  }
}
