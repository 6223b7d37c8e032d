/**
 * What a Trainer is made of.
 * @module
 */

import type { FolderOutput } from "../io/folder_target.ts";
import type { CallbackInput } from "./callbacks.ts";
import type { DataCollator } from "./data/data_loader.ts";
import type { Dataset } from "./data/example.ts";
import type { ComputeMetrics, PreprocessLogits } from "./metrics.ts";
import type { GradientExchange } from "./gradient_exchange.ts";
import type { Objective } from "./objective.ts";
import type { LRScheduler } from "./optimizers/lr_scheduler.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import type { NamesTokenizer } from "./processing_class.ts";
import type { TrainableModel } from "./trainable_model.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/**
 * The part of a tokenizer that the Trainer uses.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { TrainerTokenizer } from "@peft/webgpu/train";
 *
 * const padding: TrainerTokenizer = { padTokenId: 3, eosTokenId: 0 }; // examples are ids already: no more is needed
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = [{ inputIds: [1, 2, 4, 5] }, { inputIds: [6, 7] }];
 * const args = { maxSteps: 1, perDeviceTrainBatchSize: 2, reportTo: "none" } as const;
 * await new Trainer({ model, trainDataset, tokenizer: padding, args }).train();
 * ```
 */
export interface TrainerTokenizer {
  /** Fills short rows. */
  readonly padTokenId: number | null;
  /** Fills them where there is no padding token. */
  readonly eosTokenId: number | null;
  /** Writes its files. */
  savePretrained?(folder: FolderOutput): Promise<unknown>;
  /** The text of tokens, for reports. */
  decode?(ids: number[]): string;
}

/**
 * Options of `Trainer`.
 *
 * @example
 * ```ts
 * import { AdamW, AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { TrainerOptions } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const biases = [...model.parameters()].filter(({ shape }) => shape.length === 1);
 * const options: TrainerOptions = {
 *   model,
 *   trainDataset: [{ inputIds: [1, 2, 3] }],
 *   args: { maxSteps: 1, reportTo: "none" },
 *   optimizers: [new AdamW(biases, { lr: 1e-3 }), null], // the schedule is that of args
 * };
 * await new Trainer(options).train();
 * ```
 */
export interface TrainerOptions extends NamesTokenizer<TrainerTokenizer> {
  /** Any module that computes its loss. */
  model: TrainableModel;
  /** Settings; default all defaults. */
  args?: Partial<TrainingArguments>;
  /** Needed by `train()`. */
  trainDataset?: Dataset;
  /** Needed by `evaluate()`. */
  evalDataset?: Dataset;
  /** Pads batches, and is saved with the model. */
  tokenizer?: TrainerTokenizer;
  /** Default: pads on the right. */
  dataCollator?: DataCollator;
  /** What is minimised; default the model's own loss. */
  objective?: Objective;
  /** Callbacks, or classes of callbacks that need no arguments. */
  callbacks?: readonly CallbackInput[];
  /** In place of those that `args` describe; null leaves one of the two to `args`. */
  optimizers?: readonly [Optimizer | null, LRScheduler | null];
  /**
   * How this process and others compute each step together; each has the same data, settings and weights. Default: it is
   * alone.
   */
  gradientExchange?: GradientExchange;
  /** Measures beside the loss, of everything that an evaluation predicts. */
  computeMetrics?: ComputeMetrics;
  /** What `computeMetrics` is given of each batch's logits; default all of them. */
  preprocessLogitsForMetrics?: PreprocessLogits;
}

/** Names of the options. */
export const TRAINER_OPTIONS = [
  "model",
  "args",
  "trainDataset",
  "evalDataset",
  "tokenizer",
  "processingClass",
  "dataCollator",
  "objective",
  "callbacks",
  "optimizers",
  "gradientExchange",
  "computeMetrics",
  "preprocessLogitsForMetrics",
] as const satisfies readonly (keyof TrainerOptions)[];

/** @throws {RangeError} unless every share of a whole step has batches, as many as the others */
export function checkExchange(
  exchange: GradientExchange | undefined,
  { gradientAccumulationSteps: batches }: { readonly gradientAccumulationSteps: number },
): void {
  if (!exchange || Number.isInteger(batches / exchange.shares)) return;
  throw new RangeError(
    `Cannot make a trainer: gradientAccumulationSteps must be a multiple of the ${exchange.shares} shares of gradientExchange, received ${batches}`,
  );
}
