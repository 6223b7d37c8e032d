/**
 * Log-probabilities of whole answers, from those of their tokens.
 * @module
 */

import { multiply, slice, sum, Tensor } from "../../autograd/mod.ts";
import type { Batch } from "../data/data_loader.ts";
import type { TrainableModel } from "../trainable_model.ts";

/** Weights of the labels of a batch, [R, T]. */
export type LabelWeights = readonly (readonly number[])[];

/**
 * The log-probability of each label of a batch, float32 [R, L], 0 where there is none, and for the first of each row: no
 * token predicts it, and a virtual one does not count either (as in TRL).
 * @throws {TypeError} if the model gives none
 */
export function tokenLogProbs(
  forward: TrainableModel["forward"],
  { inputIds, labels, attentionMask }: Batch,
): Tensor {
  const predicted = labels.map((row) => row[0] === -100 ? row : [-100, ...row.slice(1)]);
  const rows = { inputIds, labels: predicted, ...attentionMask && { attentionMask } };
  const { logProbs } = forward({ ...rows, numItemsInBatch: 1, logProbs: true });
  if (logProbs) return logProbs;
  throw new TypeError(
    "Cannot tune preferences: the model's forward() must return logProbs where they are asked for, received none",
  );
}

/**
 * Sums over the labels of each row, float32 [R].
 * @param weights of the labels; default 1
 */
export function sequenceLogProbs(tokens: Tensor, weights?: LabelWeights): Tensor {
  if (!weights) return sum(tokens, { axis: 1 });
  const [rows, length] = tokens.shape;
  const virtual = length - weights[0].length;
  const flat = new Float32Array(rows * length);
  weights.forEach((row, r) =>
    row.forEach((weight, t) => {
      if (virtual + t > 0) flat[r * length + virtual + t - 1] = weight; // the position that predicts label t
    })
  );
  return sum(multiply(tokens, Tensor.from(flat, { device: tokens.device, shape: [rows, length] })), {
    axis: 1,
  });
}

/** Numbers of a batch as a tensor on the device of another. */
export function likeDevice(values: readonly number[], { device }: Tensor): Tensor {
  return Tensor.from(Float32Array.from(values), { device });
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
