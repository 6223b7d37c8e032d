/**
 * The forward of a language model with labels: the loss, or the log-probability of each label.
 * @module
 */

import {
  crossEntropy,
  type Device,
  linear,
  linearCrossEntropy,
  linearLogProbs,
  linearMeanLogits,
  logProbsOf,
  mean,
  noGrad,
  placeRows,
  reshape,
  takeRows,
  Tensor,
  tidy,
} from "../autograd/mod.ts";
import { Parameter, type Projection } from "../nn/mod.ts";
import type { Decoder } from "./decoder.ts";
import type { ModelFacts } from "./facts.ts";
import { type CausalLMInputs, checkLabels, checkRows, toIdTensor, type TokenIds } from "./inputs.ts";
import { fewTargets, givenTargets, ignoreBefore, labelRowsOf, rowsOfHidden } from "./label_rows.ts";
import { CausalLMOutput } from "./output.ts";

/** Fields of a batch that may be tensors. */
const CAPTURED = ["inputIds", "labels", "attentionMask", "sequenceIds"];

/**
 * A batch on the host, as the Trainer makes it.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { CapturableBatch } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const batch: CapturableBatch = { inputIds: [[5, 6, 7, 0]], labels: [[5, 6, 7, -100]], attentionMask: [[1, 1, 1, 0]] };
 * console.log(Object.keys(model.captureInputs(batch) ?? {})); // what a recorded step takes as tensors
 * ```
 */
export interface CapturableBatch {
  /** [B, T] */
  readonly inputIds: readonly (readonly number[])[];
  /** [B, T], -100 for none. */
  readonly labels: readonly (readonly number[])[];
  /** [B, T], 1 for tokens. */
  readonly attentionMask?: readonly (readonly number[])[];
  /** [B, T], the document of each token. */
  readonly sequenceIds?: readonly (readonly number[])[];
}

/** What a recorded step has of a batch as int32 tensors, see `CausalLM.captureInputs`. */
export function captureInputs(
  batch: CapturableBatch,
  facts: ModelFacts,
  device: Device,
): Record<string, readonly (readonly number[])[]> | null {
  const { labels, attentionMask, sequenceIds } = batch;
  if (Object.keys(batch).some((name) => !CAPTURED.includes(name))) return null;
  if (sequenceIds && facts.hasDynamicPositions) return null; // the host must know the longest document
  // a mask of ones is left out where the host knows it
  if (attentionMask?.every((row) => !row.includes(0))) return null;
  if (attentionMask?.some((row) => row.some((value) => value !== 0 && value !== 1))) return null;
  const step = device.profile.labelRowStep;
  const few = labelRowsOf(labels, 0, step);
  if (!few) return { ...batch };
  if (step === 1) return null; // their number differs from batch to batch
  return { ...batch, headRows: [few.rows], headPlaces: [few.places], headTargets: [few.targets] };
}

/** The model, as far as labels concern it. */
export interface LabelledModel {
  readonly facts: ModelFacts;
  readonly device: Device;
  readonly decoder: Decoder;
  readonly head: Projection;
  /** Logits from what the head gives; frees that where it is another tensor. */
  capped(logits: Tensor): Tensor;
}

/**
 * Hidden states, and of them the loss or the log-probabilities of the labels, in as little memory as that takes.
 * @throws {RangeError} if no label counts   @throws {TypeError} for labels of another shape than the ids
 */
export function forwardWithLabels(
  model: LabelledModel,
  inputs: CausalLMInputs,
  labels: TokenIds,
): CausalLMOutput {
  checkLabelsOf(inputs, labels);
  const { facts, device, head, capped } = model;
  const { numItemsInBatch } = inputs;
  return tidy(() => {
    // Written before the blocks are recorded: a write must not overtake commands that use its buffer.
    const given = toIdTensor("labels", labels, facts.vocabSize, device, -100);
    const virtual = inputs.promptEmbeds?.shape[0] ?? 0;
    const targets = inputs.promptEmbeds ? ignoreBefore(given, virtual) : given;
    const few = labels instanceof Tensor ? givenTargets(inputs) : fewTargets(labels, virtual, device);
    const { hidden, pastKeyValues } = model.decoder.forward(inputs);
    const weight = head.headWeight();
    if (inputs.logProbs) {
      const rows = few ? takeRows(rowsOfHidden(hidden), few) : hidden;
      const { logProbs, means } = logProbsOfLabels(model, rows, weight, few?.targets ?? targets, {
        shiftLabels: few === null,
        meanLogits: inputs.meanLogits === true && facts.logitSoftcap === undefined,
      });
      const place = (x: Tensor) => reshape(few ? placeRows(reshape(x, [x.size, 1]), few) : x, targets.shape);
      const meanLogits = means && noGrad(() => place(means));
      return new CausalLMOutput({ logProbs: few ? place(logProbs) : logProbs, meanLogits, pastKeyValues });
    }
    const options = { shiftLabels: true, numItemsInBatch };
    const cap = facts.logitSoftcap;
    if (weight) {
      const loss = few
        ? linearCrossEntropy(takeRows(rowsOfHidden(hidden), few), weight, few.targets, {
          numItemsInBatch,
          softcap: cap,
        })
        : linearCrossEntropy(hidden, weight, targets, { ...options, softcap: cap });
      const compute = (hidden: Tensor) => capped(linear(hidden, weight, null)); // of this forward, whatever adapters act then
      const held = weight instanceof Parameter ? undefined : weight;
      return new CausalLMOutput({ loss, hidden, weight: held, compute, pastKeyValues });
    }
    const logits = capped(head.forward(hidden));
    return new CausalLMOutput({ loss: crossEntropy(logits, targets, options), logits, pastKeyValues });
  });
}

/** Log-probabilities of `labels`, shaped as they are; with `meanLogits` the mean logit of each row of `hidden`, too. */
function logProbsOfLabels(
  { facts, head, capped }: LabelledModel,
  hidden: Tensor,
  weight: Tensor | null,
  labels: Tensor,
  { shiftLabels, meanLogits }: { readonly shiftLabels: boolean; readonly meanLogits: boolean },
): { logProbs: Tensor; means?: Tensor } {
  if (weight) {
    const options = { shiftLabels, softcap: facts.logitSoftcap };
    const logProbs = linearLogProbs(hidden, weight, labels, options);
    return { logProbs, ...meanLogits && { means: linearMeanLogits(hidden, weight) } };
  }
  const logits = capped(head.forward(hidden));
  const logProbs = logProbsOf(logits, labels, { shiftLabels });
  return { logProbs, ...meanLogits && { means: noGrad(() => mean(logits, { axis: -1 })) } };
}

function checkLabelsOf(inputs: CausalLMInputs, labels: TokenIds): void {
  const ids = inputs.inputsEmbeds ?? inputs.inputIds;
  if (ids === undefined) return; // the decoder says what is missing
  const shape = ids instanceof Tensor ? ids.shape : checkRows("inputIds", ids);
  checkLabels(labels, shape[0], shape[1]);
}
