/**
 * What a training run minimises: the loss that the model computes itself, or another that a trainer makes of the model.
 * @module
 */

import type { StepInput, Tensor } from "../autograd/mod.ts";
import { type Batch, countItems } from "./data/data_loader.ts";
import { forwardWithLoss, type ModelOutput, type TrainableModel } from "./trainable_model.ts";

/**
 * The loss of a batch.
 *
 * @example
 * ```ts
 * import { type BatchLoss, MODEL_LOSS, type Objective } from "@peft/webgpu/train";
 *
 * // an objective that tells what each batch costs
 * const loud = (tell: (loss: Promise<number>) => void): Objective => ({
 *   ...MODEL_LOSS,
 *   captureInputs: () => null, // a step that is recorded calls `loss` once
 *   loss(model, batch, items): BatchLoss {
 *     const found = MODEL_LOSS.loss(model, batch, items);
 *     tell(found.loss.item());
 *     return found;
 *   },
 * });
 * ```
 */
export interface BatchLoss {
  /** A scalar, part of the gradient graph. */
  readonly loss: Tensor;
  /** float32 [sumCount], outside the gradient graph: what `measures` are made of, added up over batches. */
  readonly sums?: Tensor;
  /** What the model returned; needed for `computeMetrics` alone. */
  readonly output?: ModelOutput;
}

/**
 * Inputs of a captured step, by name.
 *
 * @example
 * ```ts
 * import { type CaptureInputs, MODEL_LOSS, type Objective } from "@peft/webgpu/train";
 *
 * // lets steps be recorded for rows of one length alone
 * const onlyOfLength = (length: number): Objective => ({
 *   ...MODEL_LOSS,
 *   captureInputs(batch, model): CaptureInputs | null {
 *     return batch.inputIds.every((row) => row.length === length) ? MODEL_LOSS.captureInputs(batch, model) : null;
 *   },
 * });
 * ```
 */
export type CaptureInputs = Readonly<Record<string, StepInput>>;

/**
 * A loss for the Trainer. It must be a sum over items (labels, rows, pairs), so that a step over several batches
 * and an evaluation weigh every item the same however batches are cut.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import { multiply } from "@peft/webgpu/tensor";
 * import { MODEL_LOSS, type Objective } from "@peft/webgpu/train";
 *
 * const unlearning: Objective = {
 *   ...MODEL_LOSS,
 *   loss(...given) { // climbs where the model's own loss descends
 *     const { loss } = MODEL_LOSS.loss(...given);
 *     return { loss: multiply(loss, -1) };
 *   },
 * };
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const args = { maxSteps: 1, reportTo: "none" } as const;
 * await new Trainer({ model, trainDataset: [{ inputIds: [1, 2, 3] }], objective: unlearning, args }).train();
 * ```
 */
export interface Objective {
  /** Items of a batch; a batch without any is passed over. */
  countItems(batch: Batch): number;
  /** How often `loss` runs the model in train mode for a batch, each time with other dropout; default once. */
  countForwards?(batch: Batch): number;
  /** What a step needs at least one item of, for the error of a step without. */
  readonly required: string;
  /**
   * Records the sum of a batch's losses divided by `items`, the number of items in all batches of the step.
   * @param batch in a step that is captured, what `captureInputs` gave, as tensors
   * @param divisor float32 [1], in a step that is captured: `items`, which may differ in each replay
   */
  loss(model: TrainableModel, batch: Batch, items: number, divisor?: Tensor): BatchLoss;
  /**
   * What a captured step has as tensors in place of the batch: `loss` must then do the same work whatever their values
   * are, with `divisor` for the number of items. Null where values decide the work.
   */
  captureInputs(batch: Batch, model: TrainableModel): CaptureInputs | null;
  /** Whether the loss is the mean negative log-likelihood of tokens, of which a perplexity can be made. */
  readonly isTokenLoss: boolean;
  /** Whether its sums are those of `withTokenMeasures`; default false. */
  readonly measuresTokens?: boolean;
  /** Numbers in `BatchLoss.sums`; 0 for none. */
  readonly sumCount: number;
  /**
   * What a log tells beside the loss, such as `{ "rewards/accuracies": 0.9 }`.
   * @param sums over all batches since the last log, or of an evaluation
   */
  measures(sums: readonly number[]): Record<string, number>;
}

/** Whether all rows of a batch have one length. */
function isEven({ inputIds, labels, attentionMask = labels, sequenceIds = labels }: Batch): boolean {
  const [{ length }] = inputIds;
  return [inputIds, labels, attentionMask, sequenceIds].every((rows) =>
    rows.every((row) => row.length === length)
  );
}

/** Whether every label of a batch counts, and nothing is masked. */
function isWhole(batch: Batch): boolean {
  const { inputIds, labels: _, ...others } = batch;
  return isEven(batch) && Object.keys(others).length === 0 &&
    countItems(batch) === inputIds.length * (inputIds[0].length - 1);
}

/**
 * The model's own loss: each label counts once.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 * import { MODEL_LOSS } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = TextDataset.fromTexts(["Once upon a time there was a dog."], tokenizer, { blockSize: 8 });
 * await new Trainer({ model, trainDataset, args: { maxSteps: 2, reportTo: "none" }, objective: MODEL_LOSS }).train();
 * ```
 */
export const MODEL_LOSS: Objective = {
  countItems,
  required: "label after the first of its row is required, all others being -100",
  loss: (model, batch, items, divisor) => {
    const output = forwardWithLoss(model, batch, model.captureInputs && divisor ? divisor : items);
    return { loss: output.loss, output };
  },
  captureInputs: (batch, model) => {
    const given = isEven(batch) ? model.captureInputs?.(batch) : null;
    return given ?? (isWhole(batch) ? { ...batch } : null);
  },
  isTokenLoss: true,
  sumCount: 0,
  measures: () => ({}),
};
