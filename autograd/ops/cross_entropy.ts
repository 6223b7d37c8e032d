/**
 * Cross-entropy of logits, and of the language-model head without whole logits.
 *   loss = sum over rows of weight (lse(logits_i) - logits_i[target_i])
 *   dlogits = weight (softmax(logits) - onehot(target)),   dhidden = dlogits W,   dW = dlogits^T hidden
 * weight is 1 / (rows with a target) for the mean, 1 / numItems when the caller counts items, and 1 for the sum.
 * Rows with the label ignore_index (-100) count for nothing. The mean of no rows is NaN with a gradient of 0, as
 * PyTorch's; the sum, and the sum divided by the caller's count, is 0.
 * @module
 */

import { binaryKernels } from "../../kernels/pointwise.ts";
import {
  capLogits,
  crossEntropyGradient,
  crossEntropyRows,
  crossEntropySegments,
  meanDivisor,
  SEGMENT,
  shiftLabels,
} from "../../kernels/cross_entropy.ts";
import type { Device } from "../../gpu/mod.ts";
import { showShape } from "../shape.ts";
import { tidy } from "../scope.ts";
import { record } from "../record.ts";
import { wantsGrad } from "../tape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { flatWindows } from "../windows.ts";
import { launchMatmul } from "./_matmul.ts";
import { checkWeight } from "./_checks.ts";
import { sum } from "./reduce.ts";

/** How the losses of the rows become one number. */
export interface CrossEntropyOptions {
  /** Default `"mean"` over the rows with a target; NaN if there is none. */
  reduction?: "mean" | "sum";
  /**
   * Divides the sum by this instead: the count of items in a whole accumulated batch, as Hugging Face's Trainer does.
   */
  numItemsInBatch?: number;
  /** The label that counts for nothing; default -100. */
  ignoreIndex?: number;
  /** Predict each label from the row before it, as language models do; default false. */
  shiftLabels?: boolean;
}

/** Options of {@linkcode linearCrossEntropy}. */
export interface HeadLossOptions extends CrossEntropyOptions {
  /** The loss is that of c tanh(logits / c) for this c; default none. */
  softcap?: number;
}

/** Targets of the rows, -100 for none, and what divides their losses. */
function prepare(labels: Tensor, options: CrossEntropyOptions): { targets: Tensor; divisor: Tensor } {
  const { device, size } = labels;
  const targets = empty(device, [size], "int32");
  const valid = empty(device, [size]);
  const shift = options.shiftLabels ? 1 : 0;
  const length = options.shiftLabels ? labels.shape.at(-1)! : size;
  device.dispatch(shiftLabels, { labels: labels.view, targets: targets.view, valid: valid.view }, {
    size,
    length,
    shift,
    ignore: options.ignoreIndex ?? -100,
  });
  if (options.numItemsInBatch !== undefined) {
    return { targets, divisor: full(device, [1], options.numItemsInBatch) };
  }
  if (options.reduction === "sum") return { targets, divisor: full(device, [1], 1) };
  const divisor = empty(device, [1]);
  device.dispatch(meanDivisor, { count: sum(valid).view, divisor: divisor.view }, {});
  return { targets, divisor };
}

/** x times the one value of `factor`, in memory of its own. */
function timesScalar(x: Tensor, factor: Tensor): Tensor {
  const y = empty(x.device, x.shape);
  for (const { size, views: [p, r] } of flatWindows(x, y)) {
    const flat = { d1: 1, d2: 1, d3: size, a0: 0, a1: 0, a2: 0, a3: 1, b0: 0, b1: 0, b2: 0, b3: 0 };
    x.device.dispatch(binaryKernels.multiply, { a: p, b: factor.view, y: r }, { size, ...flat });
  }
  return y;
}

/** Losses of `rows` rows of `cols` logits (`stride` apart) from `first` on; with `gradient`, logits become dlogits. */
function launchRows(
  logits: Tensor,
  { cols, stride }: { readonly cols: number; readonly stride: number },
  { targets, divisor }: { readonly targets: Tensor; readonly divisor: Tensor },
  losses: Tensor,
  first: number,
  rows: number,
  { gradient, cap = 0 }: { readonly gradient: boolean; readonly cap?: number },
): void {
  const { device } = logits;
  const segmentCount = Math.ceil(cols / SEGMENT);
  const segments = empty(device, [rows, segmentCount, 2]);
  const lse = empty(device, [rows]);
  const window = (tensor: Tensor) => tensor.window(first * 4, rows * 4);
  const shared = {
    logits: logits.window(0, rows * stride * 4),
    divisor: divisor.view,
    targets: window(targets),
  };
  const sizes = { rows, cols, stride, segmentCount };
  if (cap > 0) device.dispatch(capLogits, { logits: shared.logits }, { size: rows * stride, cap });
  device.dispatch(crossEntropySegments, { logits: shared.logits, segments: segments.view }, sizes);
  const views = { ...shared, segments: segments.view, lse: lse.view, losses: window(losses) };
  device.dispatch(crossEntropyRows, views, sizes);
  if (gradient) device.dispatch(crossEntropyGradient, { ...shared, lse: lse.view }, { ...sizes, cap });
}

/** The sum of all elements as a scalar, outside the tape. */
function total(x: Tensor): Tensor {
  return x.size === 1 ? x.alias([]) : sum(x);
}

function checkLabels(action: string, labels: Tensor, rows: number): void {
  if (labels.dtype !== "int32" || labels.size !== rows) {
    throw new TypeError(
      `Cannot ${action}: int32 labels for ${rows} rows are required, received ${labels.dtype} ${
        showShape(labels.shape)
      }`,
    );
  }
}

/**
 * Cross-entropy of given logits.
 * @param logits [..., V]   @param labels int32 [...], 0..V-1 or ignoreIndex
 * @returns a scalar
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const cols = logits.shape.at(-1)!;
  const rows = logits.size / cols;
  checkLabels("compute cross-entropy", labels, rows);
  const gradient = wantsGrad(logits);
  const [loss, dlogits] = tidy(() => {
    const prepared = prepare(labels, options);
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

/** Rows of logits that exist at a time in `linearCrossEntropy`, and their length in memory. */
export function headChunk(
  device: Device,
  rows: number,
  vocabulary: number,
): { stride: number; chunk: number } {
  const limit = Math.min(device.profile.headChunkBytes, device.limits.maxStorageBufferBindingSize);
  const stride = Math.ceil(vocabulary / 4) * 4; // rows of whole vec4f: matmuls load four logits at a time
  const chunk = Math.min(rows, Math.max(64, Math.floor(limit / (stride * 4 * 64)) * 64));
  return { stride, chunk };
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
  const cols = hidden.shape.at(-1)!;
  const rows = hidden.size / cols;
  const [vocabulary, width] = weight.shape;
  if (weight.shape.length !== 2 || width !== cols) {
    throw new TypeError(
      `Cannot compute the head's loss of hidden ${
        showShape(hidden.shape)
      }: a weight of shape [V, ${cols}] is required, received ${showShape(weight.shape)}`,
    );
  }
  checkWeight("compute the head's loss", weight);
  checkLabels("compute the head's loss", labels, rows);
  const { device } = hidden;
  const needsHidden = wantsGrad(hidden);
  const needsWeight = wantsGrad(weight);
  const { stride, chunk } = headChunk(device, rows, vocabulary);
  const [loss, dhidden, dweight] = tidy(() => {
    const prepared = prepare(labels, options);
    const losses = empty(device, [rows]);
    const logits = empty(device, [chunk, stride]);
    const dhidden = needsHidden ? empty(device, hidden.shape) : null;
    const dweight = needsWeight ? empty(device, weight.shape) : null;
    for (let first = 0; first < rows; first += chunk) {
      const M = Math.min(chunk, rows - first);
      const h = { tensor: hidden, ld: cols, offset: first * cols };
      const w = { tensor: weight, ld: cols };
      const l = { tensor: logits, ld: stride };
      launchMatmul(device, { layout: "nt", M, N: vocabulary, K: cols, a: h, b: w, y: l });
      launchRows(
        logits,
        { cols: vocabulary, stride },
        prepared,
        losses,
        first,
        M,
        { gradient: needsHidden || needsWeight, cap: options.softcap },
      );
      if (dhidden) {
        const y = { tensor: dhidden, ld: cols, offset: first * cols };
        launchMatmul(device, { layout: "nn", M, N: cols, K: vocabulary, a: l, b: w, y });
      }
      if (dweight) {
        const y = { tensor: dweight, ld: cols };
        launchMatmul(device, {
          layout: "tn",
          M: vocabulary,
          N: cols,
          K: M,
          a: l,
          b: h,
          y,
          accumulate: first > 0,
        });
      }
    }
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
