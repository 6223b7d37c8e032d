/**
 * Log-probabilities of target tokens, one for each row: y_i = log softmax(logits_i)[target_i], 0 without a target.
 *   dlogits_i = dy_i (onehot(target_i) - softmax(logits_i)),   dhidden_i = dlogits_i W,   dW = dlogits^T hidden
 * A row's gradient is its own number dy_i times one that is known in the forward pass, which computes it while the
 * logits of the row exist; the weight's mixes rows, so that backward runs the head again for it.
 * @module
 */

import { binaryKernels } from "../../kernels/pointwise.ts";
import { tidy } from "../scope.ts";
import { record } from "../record.ts";
import { noGrad, wantsGrad } from "../tape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { launchMatmul } from "./_matmul.ts";
import { linear } from "./linear.ts";
import { rowWindows } from "../windows.ts";
import { checkHead, checkLabels, launchRows, prepareTargets, runHead } from "./_head_pass.ts";
import { scale } from "./pointwise.ts";

/** Options of `logProbsOf` and `linearLogProbs`. */
export interface LogProbsOptions {
  /** Predict each label from the row before it, as language models do; default false. */
  shiftLabels?: boolean;
  /** The label that counts for nothing; default -100. */
  ignoreIndex?: number;
  /** Log-probabilities under c tanh(logits / c) for this c; default none. Of `linearLogProbs` alone. */
  softcap?: number;
}

/** -x times a number for each row of `cols`, in memory of its own: the gradient of what is the negative of a loss. */
function minusTimesRows(x: Tensor, factors: Tensor): Tensor {
  const { device } = x;
  const cols = x.shape.at(-1)!;
  const rows = x.size / cols;
  const y = empty(device, x.shape);
  const minus = scale(factors, -1);
  const targets = rowWindows(y, rows, cols);
  rowWindows(x, rows, cols).forEach(({ first, count, views: [a] }, i) => {
    const strides = { d1: 1, d2: count, d3: cols, a0: 0, a1: 0, a2: cols, a3: 1, b0: 0, b1: 0, b2: 1, b3: 0 };
    device.dispatch(
      binaryKernels.multiply,
      { a, b: minus.window(first * 4, count * 4), y: targets[i].views[0] },
      { size: count * cols, ...strides },
    );
  });
  minus.dispose();
  return y;
}

/**
 * Log-probabilities of labels under given logits.
 * @param logits [..., V]   @param labels int32 [...], 0..V-1 or ignoreIndex
 * @returns float32, shaped as the labels
 * @throws {TypeError} for labels that are not int32, or not one for each row
 */
export function logProbsOf(
  logits: Tensor,
  labels: Tensor,
  options: Omit<LogProbsOptions, "softcap"> = {},
): Tensor {
  const cols = logits.shape.at(-1)!;
  const rows = logits.size / cols;
  checkLabels("compute log-probabilities", labels, rows);
  const gradient = wantsGrad(logits);
  const [y, unit] = tidy(() => {
    const prepared = prepareTargets(labels, { ...options, reduction: "sum" });
    const losses = empty(logits.device, [rows]);
    const work = gradient ? logits.copy() : logits;
    launchRows(work, { cols, stride: cols }, prepared, losses, 0, rows, { gradient });
    return [scale(losses, -1).alias(labels.shape), gradient ? work : null];
  });
  record("logProbsOf", {
    inputs: { logits },
    saved: { unit },
    savesGradients: true,
    outputs: [y],
    backward: ({ dy, saved: { unit } }) => ({ logits: minusTimesRows(unit!, dy) }),
  });
  unit?.dispose();
  return y;
}

/**
 * The mean of the logits of each row, without logits: rows times the mean row of the head's weight. Outside the gradient
 * graph.
 * @param hidden [..., C]   @param weight [V, C], of any weight format
 * @returns float32 [..., 1]
 */
export function linearMeanLogits(hidden: Tensor, weight: Tensor): Tensor {
  const { device } = hidden;
  const [vocabulary, cols] = weight.shape;
  return tidy(() =>
    noGrad(() => {
      const parts = full(device, [1, Math.ceil(vocabulary / 4) * 4], 1 / vocabulary);
      const mean = empty(device, [1, cols]);
      launchMatmul(device, {
        ...{ layout: "nn", M: 1, N: cols, K: vocabulary },
        a: { tensor: parts, ld: parts.shape[1] },
        b: { tensor: weight, ld: cols },
        y: { tensor: mean, ld: cols },
      });
      return linear(hidden, mean, null);
    })
  );
}

/**
 * The language-model head and the log-probabilities of labels as one op that works through chunks of rows: whole logits
 * never exist.
 * @param hidden [..., C]   @param weight [V, C], of any weight format when frozen   @param labels int32 [...]
 * @returns float32, shaped as the labels
 * @throws {TypeError} if sizes do not fit
 */
export function linearLogProbs(
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  options: LogProbsOptions = {},
): Tensor {
  checkHead("compute log-probabilities", hidden, weight, labels);
  const { softcap } = options;
  const needsWeight = wantsGrad(weight);
  const [y, unit, targets, divisor] = tidy(() => {
    const prepared = prepareTargets(labels, { ...options, reduction: "sum" });
    const needsHidden = wantsGrad(hidden);
    const { losses, dhidden } = runHead(hidden, weight, prepared, { needsHidden, weightFrom: null, softcap });
    const y = scale(losses, -1).alias(labels.shape);
    return [y, dhidden, ...needsWeight ? [prepared.targets, prepared.divisor] : [null, null]];
  });
  record("linearLogProbs", {
    inputs: { hidden, weight },
    saved: { unit, ...needsWeight ? { h: hidden, w: weight } : { h: null, w: null }, targets, divisor },
    savesGradients: true,
    outputs: [y!],
    backward: ({ dy, saved: { unit, h, w, targets, divisor } }) => {
      const weightGradient = () => {
        const weightFrom = minusTimesRows(h!, dy);
        const prepared = { targets: targets!, divisor: divisor! };
        return runHead(h!, w!, prepared, { needsHidden: false, weightFrom, softcap }).dweight;
      };
      return { hidden: unit && minusTimesRows(unit, dy), weight: w && tidy(weightGradient) };
    },
  });
  for (const tensor of [unit, targets, divisor]) tensor?.dispose();
  return y!;
}
