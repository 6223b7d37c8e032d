/**
 * Cross-entropy of logits, and of the language-model head without whole logits.
 *   loss = sum over rows of weight (lse(logits_i) - logits_i[target_i])
 *   dlogits = weight (softmax(logits) - onehot(target)),   dhidden = dlogits W,   dW = dlogits^T hidden
 * weight is 1 / (rows with a target) for the mean, 1 / numItems when the caller counts items, and 1 for the sum.
 * Rows with the label ignore_index (-100) count for nothing. The mean of no rows is NaN with a gradient of 0, as
 * PyTorch's; the sum, and the sum divided by the caller's count, is 0.
 * @module
 */

import { tidy } from "../scope.ts";
import { record } from "../record.ts";
import { wantsGrad } from "../tape.ts";
import { empty, type Tensor } from "../tensor.ts";
import {
  checkHead,
  checkLabels,
  type CrossEntropyOptions,
  launchRows,
  prepareTargets,
  runHead,
  timesScalar,
} from "./_head_pass.ts";
import { sum } from "./reduce.ts";

/** Options of {@linkcode linearCrossEntropy}. */
export interface HeadLossOptions extends CrossEntropyOptions {
  /** The loss is that of c tanh(logits / c) for this c; default none. */
  softcap?: number;
}

/** The sum of all elements as a scalar, outside the tape. */
function total(x: Tensor): Tensor {
  return x.size === 1 ? x.alias([]) : sum(x);
}

/**
 * Cross-entropy of given logits.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { crossEntropy, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const logits = Tensor.from([[[2, 0], [0, 2]]], { requiresGrad: true }); // [B, T, V]
 * const labels = Tensor.from(new Int32Array([0, 1]), { shape: [1, 2] });
 * const loss = crossEntropy(logits, labels);
 * loss.backward();
 * console.log(await loss.item(), logits.grad!.shape);
 * ```
 * @param logits [..., V]   @param labels int32 [...], 0..V-1 or ignoreIndex
 * @returns a scalar
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const cols = logits.shape.at(-1)!;
  const rows = logits.size / cols;
  checkLabels("compute cross-entropy", labels, rows);
  const gradient = wantsGrad(logits);
  const [loss, dlogits] = tidy(() => {
    const prepared = prepareTargets(labels, options);
    const losses = empty(logits.device, [rows]);
    const work = gradient ? logits.copy() : logits;
    launchRows(work, { cols, stride: cols }, prepared, losses, 0, rows, { gradient });
    return [total(losses), gradient ? work : null];
  });
  record("crossEntropy", {
    inputs: { logits },
    saved: { dlogits },
    savesGradients: true,
    outputs: [loss],
    backward: ({ dy, saved: { dlogits } }) => ({ logits: timesScalar(dlogits!, dy) }),
  });
  dlogits?.dispose();
  return loss;
}

/**
 * The language-model head and its cross-entropy as one op that works through chunks of rows: logits, loss, their
 * gradient and the hidden state's, then the next chunk. Whole logits never exist.
 * @param hidden [..., C]   @param weight [V, C], float32, or float16 when frozen   @param labels int32 [...]
 * @returns a scalar
 * @throws {TypeError} if sizes do not fit
 */
export function linearCrossEntropy(
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  options: HeadLossOptions = {},
): Tensor {
  checkHead("compute the head's loss", hidden, weight, labels);
  const [loss, dhidden, dweight] = tidy(() => {
    const { losses, dhidden, dweight } = runHead(hidden, weight, prepareTargets(labels, options), {
      needsHidden: wantsGrad(hidden),
      weightFrom: wantsGrad(weight) ? hidden : null,
      softcap: options.softcap,
    });
    return [total(losses), dhidden, dweight];
  });
  record("linearCrossEntropy", {
    inputs: { hidden, weight },
    saved: { dhidden, dweight },
    savesGradients: true,
    outputs: [loss],
    backward: ({ dy, saved: { dhidden, dweight } }) => ({
      hidden: dhidden && timesScalar(dhidden, dy),
      weight: dweight && timesScalar(dweight, dy),
    }),
  });
  dhidden?.dispose();
  dweight?.dispose();
  return loss;
}
