/**
 * What a PEFT model asks of the model it wraps.
 * @module
 */

import type { Module } from "../nn/mod.ts";
import { kindOf } from "../options/kinds.ts";

/**
 * A model that can be adapted: any module tree with a forward.
 *
 * @example
 * ```ts
 * import { getPeftModel, initDevice, LoraConfig, Module, Parameter, Tensor } from "@peft/webgpu";
 * import type { AdaptableModel } from "@peft/webgpu/peft";
 * import { Linear } from "@peft/webgpu/tensor";
 *
 * class Classifier extends Module {
 *   score = new Linear(Parameter.from([[1, 0, 2], [0, 1, 0]])); // 3 features, 2 classes
 *   forward = (x: Tensor) => this.score.forward(x);
 * }
 * await initDevice();
 * const model = getPeftModel(new Classifier() satisfies AdaptableModel, new LoraConfig({ r: 2, targetModules: ["score"] }));
 * console.log(await model.forward(Tensor.from([[1, 2, 3]])).data()); // [7, 2]: B is zero at first
 * ```
 */
export type AdaptableModel = Module & {
  // deno-lint-ignore no-explicit-any -- each model has inputs of its own
  forward(inputs: any): unknown;
};

/**
 * What a model's forward takes.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, type GPT2LMHeadModel, LoraConfig } from "@peft/webgpu";
 * import type { ForwardInputs } from "@peft/webgpu/peft";
 *
 * const inputs: ForwardInputs<GPT2LMHeadModel> = { inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] };
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }));
 * console.log(await model.forward(inputs).loss!.item());
 * ```
 */
export type ForwardInputs<M extends AdaptableModel> = Parameters<M["forward"]>[0];
/**
 * The type of a model's `generate`; never if it has none.
 *
 * @example
 * ```ts
 * import type { GPT2LMHeadModel } from "@peft/webgpu";
 * import type { Generate } from "@peft/webgpu/peft";
 *
 * type Prompts = Parameters<Generate<GPT2LMHeadModel>>[0]; // what generate() of an adapted GPT-2 takes
 * const prompts: Prompts[] = ["Once upon a time", [[1, 2, 3]]];
 * console.log(prompts.length); // 2
 * ```
 */
export type Generate<M> = M extends { generate: infer G extends (...args: never[]) => unknown } ? G : never;

/**
 * Adapters for the rows of a batch.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import type { AdapterRows } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"] }), "pirate").eval();
 * const rows: AdapterRows = { adapterNames: ["pirate", "__base__"] };
 * console.log(model.forward({ inputIds: [[1, 2], [1, 2]], ...rows }).logits.shape); // [ 2, 2, 768 ]
 * ```
 */
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

/**
 * What a recorded step has of a batch, null where it cannot be recorded; undefined for a model that does not say.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, PromptTuningConfig } from "@peft/webgpu";
 * import type { CaptureInputsOf } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const capture: CaptureInputsOf = getPeftModel(base, new PromptTuningConfig({ numVirtualTokens: 4 })).captureInputs;
 * console.log(capture?.({ inputIds: [[1, 2]], labels: [[1, 2]] })); // null: steps with virtual tokens are not recorded
 * ```
 */
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

/** Fails for what is no model. @throws {TypeError} */
export function checkModel(model: unknown): void {
  if (typeof (model as Module | null | undefined)?.namedModules === "function") return;
  throw new TypeError(`Cannot wrap the model: a model is required, received ${kindOf(model)}`);
}

/** Fails for what is no model, or has adapters. @throws {TypeError} naming the first module that has some */
export function checkUnwrapped(model: Module): void {
  checkModel(model);
  for (const [path, module] of model.namedModules()) {
    if ("adapterParameters" in module) {
      throw new TypeError(
        `Cannot wrap the model: "${path}" has adapters already; use addAdapter() of the PeftModel it is in`,
      );
    }
  }
}
