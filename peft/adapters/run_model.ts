/**
 * The model's forward and generation through its adapters. Which adapters act is decided when a call begins and holds
 * until it ends. It is set for each synchronous step and never across an await, so that concurrent calls each see their
 * own adapters.
 * @module
 */

import { noGrad } from "../../autograd/mod.ts";
import type { Module } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import type { AdapterCall, AdapterState } from "../state/adapter_state.ts";
import { BASE } from "./adapter_names.ts";
import { checkMixedBatch, MixedBatch } from "./mixed_batch.ts";

/** A model with its adapters. */
export interface Adapted {
  readonly model: Module;
  readonly state: AdapterState;
  readonly configs: ReadonlyMap<string, PeftConfig>;
}

/** @throws {RangeError} if an adapter of the call was deleted or renamed */
export function checkPresent({ configs }: Adapted, { active, disabled, mixed }: AdapterCall): void {
  if (disabled) return;
  const gone = (mixed?.names ?? active).find((name) => name !== BASE && !configs.has(name));
  if (gone !== undefined) {
    throw new RangeError(
      `Cannot continue generating: adapter "${gone}" was deleted or renamed in the meantime`,
    );
  }
}

/** Checks the names of the rows, if any are given. @throws as `checkMixedBatch` */
export function batchOf(
  { model, state, configs }: Adapted,
  names: readonly string[] | undefined,
  inputs: unknown,
  copies = 1,
): MixedBatch | null {
  if (names === undefined || names === null) return null;
  checkMixedBatch(model, state, configs.keys(), names, inputs);
  return new MixedBatch(names.flatMap((name) => new Array<string>(copies).fill(name)));
}

/**
 * The model's forward, with its inputs as they are: one of the caller's own may take a tensor. With `adapterNames`, each
 * row through its own adapter and without gradients.
 */
export function runForward(adapted: Adapted, inputs: object): unknown {
  const model = adapted.model as unknown as { forward(inputs: object): unknown };
  if (!Object.hasOwn(inputs, "adapterNames")) return model.forward(inputs);
  const { adapterNames, ...rest } = inputs as { adapterNames?: readonly string[] };
  const mixed = batchOf(adapted, adapterNames, rest);
  if (!mixed) return model.forward(rest);
  try {
    return adapted.state.during({ ...adapted.state.call, mixed }, () => noGrad(() => model.forward(rest)));
  } finally {
    mixed.dispose();
  }
}

/**
 * The model's generate, which runs each of its steps through `runStep`: with the adapters that act when it is called, or
 * each row's own.
 * @throws {TypeError} if the model has no generate()
 */
export async function runGenerate(adapted: Adapted, inputs: unknown, options: unknown): Promise<unknown> {
  const model = adapted.model as unknown as {
    generate?(inputs: unknown, options: unknown): Promise<unknown>;
  };
  if (!model.generate) throw new TypeError("Cannot generate: the base model has no generate()");
  const { adapterNames, ...rest } = (options ?? {}) as {
    adapterNames?: readonly string[];
    numBeams?: number;
    numReturnSequences?: number;
  };
  const { call: atCall } = adapted.state;
  if (adapterNames) await import("./mixed_batch.ts");
  const { numBeams = 1, numReturnSequences = 1 } = rest;
  const copies = numBeams > 1 ? numBeams : numReturnSequences; // what is no number of rows, generate refuses
  const mixed = batchOf(adapted, adapterNames, inputs, Number.isInteger(copies) && copies > 0 ? copies : 1);
  const call = { ...atCall, mixed };
  const runStep = <T>(step: () => T): T => {
    checkPresent(adapted, call);
    return adapted.state.during(call, mixed ? () => noGrad(step) : step);
  };
  try {
    return await model.generate(inputs, { ...rest, runStep });
  } finally {
    mixed?.dispose();
  }
}
