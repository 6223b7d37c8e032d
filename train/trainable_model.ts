/**
 * What the Trainer needs of a model, whatever it is.
 * @module
 */

import { type Device, RandomState, type Tensor } from "../autograd/mod.ts";
import type { FolderOutput } from "../io/folder_target.ts";
import {
  Dropout,
  LayerNorm,
  type Module,
  type Parameter,
  RMSNorm,
  type TrainingStateKeeper,
  type trainingStateKeeper,
} from "../nn/mod.ts";
import { kindOf } from "../options/kinds.ts";
import type { Batch } from "./data/data_loader.ts";

/**
 * What a model's forward returns, as far as training looks at it.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { ModelOutput } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const row = { inputIds: [[1, 2, 3]], labels: [[1, 2, 3]] };
 * const { loss }: ModelOutput = model.forward(row);
 * const { logProbs }: ModelOutput = model.forward({ ...row, logProbs: true }); // in place of their mean
 * console.log(await loss!.item(), await logProbs!.data()); // 0 at the end, which no label follows
 * ```
 */
export interface ModelOutput {
  /** A scalar; absent where `logProbs` were asked for. */
  readonly loss?: Tensor;
  /** float32 [B, NV + T], as `CausalLMOutput.logProbs`; where it was asked for. */
  readonly logProbs?: Tensor;
  /** float32 [B, NV + T], as `CausalLMOutput.meanLogits`; where it was asked for and is known. */
  readonly meanLogits?: Tensor;
  /** [B, T, V]; read for `computeMetrics` alone. */
  readonly logits?: Tensor;
}

/**
 * A model that computes its own loss.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { TrainableModel } from "@peft/webgpu/train";
 *
 * // how many numbers a Trainer would change
 * function trainableNumbers(model: TrainableModel): number {
 *   let sum = 0;
 *   for (const [, { requiresGrad, size }] of model.namedParameters()) if (requiresGrad) sum += size;
 *   return sum;
 * }
 * console.log(trainableNumbers(await AutoModelForCausalLM.fromPretrained("examples/demo/model"))); // 908032
 * ```
 */
export interface TrainableModel {
  /** Whether dropout is active. */
  training: boolean;
  /**
   * The loss of a batch: the sum over its labels (each predicted from the tokens before it, so that the first of a row
   * does not count) divided by `numItemsInBatch`. With `logProbs`, which preference tuning needs, the log-probability of
   * each label in its place.
   */
  forward(
    inputs: Batch & { numItemsInBatch: number | Tensor; logProbs?: boolean; meanLogits?: boolean },
  ): ModelOutput;
  /** Its parameters by name. */
  namedParameters(): Iterable<[string, Parameter]>;
  /** Its modules by path. */
  namedModules(): Iterable<[string, Module]>;
  /** Switches dropout. */
  train(mode?: boolean): unknown;
  /** Writes its files. */
  savePretrained?(folder: FolderOutput): Promise<unknown>;
  /** What a resumed run needs besides parameters: AdaLoRA's importance. */
  readonly [trainingStateKeeper]?: TrainingStateKeeper;
  /** The random state of its dropout. */
  readonly random?: unknown;
  /** Makes it compute activations again for gradients instead of keeping them; `gradientCheckpointing` needs it. */
  gradientCheckpointingEnable?(): void;
  /** NEFTune: noise on the embeddings in train mode; null for none, undefined where it cannot. */
  neftuneNoiseAlpha?: number | null;
  /**
   * Whether `forward` also takes ids and labels as int32 tensors and does the same launches in every step, so that the
   * Trainer may record a step and replay it (see `captureStep`). Default false.
   */
  readonly isCapturable?: boolean;
  /**
   * What `forward` needs of a batch to do the same launches whatever its values are: in a recorded step it gets these as
   * int32 tensors, and `numItemsInBatch` as a float32 tensor of one element. Null where values decide. Absent: batches
   * without a mask whose labels all count may be recorded, with `numItemsInBatch` as a number.
   */
  captureInputs?(batch: Batch): Readonly<Record<string, readonly (readonly number[])[]>> | null;
}

/**
 * Refuses what is no model.
 * @param action what fails, such as `make a trainer`
 */
export function checkModel(action: string, model: unknown): void {
  const { forward, namedParameters } = (model ?? {}) as Partial<TrainableModel>;
  if (typeof forward === "function" && typeof namedParameters === "function") return;
  const advice = typeof model === "string" ? "; load one with await fromPretrained()" : "";
  throw new TypeError(`Cannot ${action}: a model is required, received ${kindOf(model)}${advice}`);
}

/** Tokens that a model takes at most; undefined where it does not tell. An adapter's are those of its base model. */
export function maxPositionsOf(model: TrainableModel): number | undefined {
  const facts = (of: unknown) => (of as { facts?: { readonly maxPositions: number } } | undefined)?.facts;
  const { getBaseModel } = model as { getBaseModel?: () => unknown };
  return (facts(model) ?? facts(getBaseModel?.call(model)))?.maxPositions;
}

/** The output of a batch. @throws {TypeError} if it has no loss */
export function forwardWithLoss(
  model: TrainableModel,
  batch: Batch,
  numItemsInBatch: number | Tensor,
): ModelOutput & { readonly loss: Tensor } {
  const output = model.forward({ ...batch, numItemsInBatch });
  if (output.loss) return output as ModelOutput & { readonly loss: Tensor };
  throw new TypeError("Cannot train: the model's forward() must return a loss, received none");
}

/** The logits of an output. @throws {TypeError} if there are none */
export function logitsOf(output: ModelOutput | undefined): Tensor {
  const logits = output?.logits;
  if (logits) return logits;
  throw new TypeError("Cannot compute metrics: the model's forward() must return logits, received none");
}

/** The device of a model's parameters; undefined for a model without any. */
export function deviceOf(model: TrainableModel): Device | undefined {
  for (const [, { device }] of model.namedParameters()) return device;
}

/** Parameters that train, by name. */
export function trainableParameters(model: TrainableModel): Map<string, Parameter> {
  return new Map([...model.namedParameters()].filter(([, parameter]) => parameter.requiresGrad));
}

/** Every random state of a model, each once, in the order of its modules. */
export function randomStates(model: TrainableModel): RandomState[] {
  const states = new Set<RandomState>();
  if (model.random instanceof RandomState) states.add(model.random);
  for (const [, module] of model.namedModules()) if (module instanceof Dropout) states.add(module.random);
  return [...states];
}

/** Names that weight decay leaves out (`Trainer.get_decay_parameter_names` of `transformers`). */
const NO_DECAY = /bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)/i;

/** Trainable parameters in two groups, with weight decay and without: biases and norms have none. */
export function decayGroups(
  model: TrainableModel,
  weightDecay: number,
): { params: Parameter[]; weightDecay: number }[] {
  const norms = new Set<Parameter>();
  for (const [, module] of model.namedModules()) {
    if (module instanceof LayerNorm || module instanceof RMSNorm) {
      for (const [, parameter] of module.ownParameters()) norms.add(parameter);
    }
  }
  const decayed: Parameter[] = [];
  const others: Parameter[] = [];
  for (const [name, parameter] of trainableParameters(model)) {
    (norms.has(parameter) || NO_DECAY.test(name) ? others : decayed).push(parameter);
  }
  return [{ params: decayed, weightDecay }, { params: others, weightDecay: 0 }];
}

/** Gives the memory of gradients back. */
export function zeroGrad(parameters: readonly Tensor[]): void {
  for (const parameter of parameters) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
}
