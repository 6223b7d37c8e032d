/**
 * Log-probabilities of whole answers, from those of their tokens.
 * @module
 */

import { full, multiply, slice, sum, type Tensor } from "../../autograd/mod.ts";
import type { Batch } from "../data/data_loader.ts";
import type { TrainableModel } from "../trainable_model.ts";
import type { ForwardRows, Numbers } from "./loss_inputs.ts";

/**
 * Rows whose first label counts for nothing: no token predicts it, and a virtual one does not count either (as in TRL).
 */
export function predictedRows({ inputIds, labels, attentionMask }: Batch): Batch {
  const predicted = labels.map((row) => row[0] === -100 ? row : [-100, ...row.slice(1)]);
  return { inputIds, labels: predicted, ...attentionMask && { attentionMask } };
}

/**
 * The log-probability of each label of `predictedRows`, float32 [R, L], 0 where there is none.
 * @throws {TypeError} if the model gives none
 */
export function tokenLogProbs(forward: TrainableModel["forward"], rows: ForwardRows): Tensor {
  const { logProbs } = forward({ ...rows, numItemsInBatch: 1, logProbs: true });
  if (logProbs) return logProbs;
  throw new TypeError(
    "Cannot tune preferences: the model's forward() must return logProbs where they are asked for, received none",
  );
}

/** What is logged of the logits of each row: the sum of their means over the labels, and how many labels there are, [R]. */
export interface RowLogits {
  readonly sums: Tensor;
  readonly counts: Tensor;
}

/** What a policy says of `predictedRows`. */
export interface PolicyTokens {
  /** As `tokenLogProbs`. */
  readonly tokens: Tensor;
  /** Of its logits; the counts are 0 where it does not tell. */
  readonly logits: () => RowLogits;
}

/** Numbers that `policyTokens` needs. */
export function logitNumbers({ labels }: Batch): Record<"labelled" | "labelCounts", Float32Array[]> {
  return {
    labelled: tokenWeights(labels.map((row) => row.map((label) => label === -100 ? 0 : 1))),
    labelCounts: [Float32Array.from(labelCounts(labels, 1))],
  };
}

/** Log-probabilities and mean logits of the policy. @param numbers with `logitNumbers` */
export function policyTokens(model: TrainableModel, rows: ForwardRows, numbers: Numbers): PolicyTokens {
  let means: Tensor | undefined;
  const tokens = tokenLogProbs((inputs) => {
    const output = model.forward({ ...inputs, meanLogits: true });
    means = output.meanLogits;
    return output;
  }, rows);
  const logits = () => {
    if (!means) {
      return {
        sums: full(tokens.device, [tokens.shape[0]], 0),
        counts: full(tokens.device, [tokens.shape[0]], 0),
      };
    }
    const sums = sequenceLogProbs(means, numbers.get("labelled", tokens));
    return { sums, counts: numberRow(numbers, "labelCounts", tokens) };
  };
  return { tokens, logits };
}

/** A mean logit for the logs; nothing where there were no labels. */
export const meanLogit = (name: string, sum: number, count: number): Record<string, number> =>
  count > 0 ? { [name]: sum / count } : {};

/**
 * Sums over the labels of each row, float32 [R].
 * @param weights float32 [R, T], of what each token of the row predicts; default 1
 */
export function sequenceLogProbs(tokens: Tensor, weights?: Tensor): Tensor {
  if (!weights) return sum(tokens, { axis: 1 });
  const virtual = tokens.shape[1] - weights.shape[1];
  const own = virtual === 0 ? tokens : slice(tokens, 1, virtual);
  return sum(multiply(own, weights), { axis: 1 });
}

/** Weights of labels, [R][T], as those of the tokens before them, which predict them. */
export function tokenWeights(labelWeights: readonly (readonly number[])[]): Float32Array[] {
  return labelWeights.map((row) => Float32Array.from(row, (_, t) => row[t + 1] ?? 0));
}

/** Numbers of a batch by name, which must be there, as float32 [n]. */
export function numberRow(numbers: Numbers, name: string, like: Tensor): Tensor {
  const rows = numbers.get(name, like)!;
  return rows.alias([rows.size]);
}

/** The first and the second half of [2B]. */
export function halves(x: Tensor): [first: Tensor, second: Tensor] {
  const half = x.shape[0] / 2;
  return [slice(x, 0, 0, half), slice(x, 0, half)];
}

/** How many labels each row has from number `from` on. */
export function labelCounts(labels: readonly (readonly number[])[], from = 0): number[] {
  return labels.map((row) => {
    let count = 0;
    for (let t = from; t < row.length; t++) if (row[t] !== -100) count++;
    return count;
  });
}
