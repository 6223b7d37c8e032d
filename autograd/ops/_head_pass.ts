/**
 * The work that losses and log-probabilities of logits share: targets of rows, losses of rows and their gradient in
 * place of the logits, and the language-model head through chunks of rows.
 * @module
 */

import { binaryKernels } from "../../kernels/pointwise.ts";
import {
  capLogits,
  crossEntropyGradient,
  crossEntropyRows,
  crossEntropySegments,
  crossEntropyWeighted,
  meanDivisor,
  SEGMENT,
  shiftLabels,
} from "../../kernels/cross_entropy.ts";
import { addTokenStats, TOKEN_STATS, tokenStats } from "../../kernels/token_stats.ts";
import type { BufferView, Device } from "../../gpu/mod.ts";
import { showShape } from "../shape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { flatWindows } from "../windows.ts";
import { launchMatmul } from "./_matmul.ts";
import { checkWeight } from "./_checks.ts";
import { tokenStatsCollector } from "./_token_stats.ts";
import { sum } from "./reduce.ts";

/**
 * How the losses of the rows become one number.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { crossEntropy, type CrossEntropyOptions, Tensor } from "@peft/webgpu/tensor";
 *
 * const logits = Tensor.from([[[0, 0], [0, 0], [0, 0]]], { device: await initDevice() });
 * const labels = Tensor.from([[-100, 1, 0]], { dtype: "int32" }); // the prompt counts for nothing
 * const options: CrossEntropyOptions = { reduction: "sum", shiftLabels: true };
 * console.log(await crossEntropy(logits, labels, options).item()); // 2 ln 2 = 1.386
 * ```
 */
export interface CrossEntropyOptions {
  /** Default `"mean"` over the rows with a target; NaN if there is none. */
  reduction?: "mean" | "sum";
  /**
   * Divides the sum by this instead: the count of items in a whole accumulated batch, as Hugging Face's Trainer does. A
   * float32 tensor of one element where a captured step has another count each time.
   */
  numItemsInBatch?: number | Tensor;
  /** The label that counts for nothing; default -100. */
  ignoreIndex?: number;
  /** Predict each label from the row before it, as language models do; default false. */
  shiftLabels?: boolean;
}

/** Targets of rows, -100 for none, and what divides their losses. */
export interface Targets {
  /** int32 [rows] */
  readonly targets: Tensor;
  /** float32 [1] */
  readonly divisor: Tensor;
}

/** Targets of the rows, and what divides their losses. */
export function prepareTargets(labels: Tensor, options: CrossEntropyOptions): Targets {
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
    const { numItemsInBatch: items } = options;
    return { targets, divisor: typeof items === "number" ? full(device, [1], items) : items.alias() };
  }
  if (options.reduction === "sum") return { targets, divisor: full(device, [1], 1) };
  const divisor = empty(device, [1]);
  device.dispatch(meanDivisor, { count: sum(valid).view, divisor: divisor.view }, {});
  return { targets, divisor };
}

/** x times the one value of `factor`, in memory of its own. */
export function timesScalar(x: Tensor, factor: Tensor): Tensor {
  const y = empty(x.device, x.shape);
  for (const { size, views: [p, r] } of flatWindows(x, y)) {
    const flat = { d1: 1, d2: 1, d3: size, a0: 0, a1: 0, a2: 0, a3: 1, b0: 0, b1: 0, b2: 0, b3: 0 };
    x.device.dispatch(binaryKernels.multiply, { a: p, b: factor.view, y: r }, { size, ...flat });
  }
  return y;
}

/** Losses of `rows` rows of `cols` logits (`stride` apart) from `first` on; with `gradient`, logits become dlogits. */
export function launchRows(
  logits: Tensor,
  { cols, stride }: { readonly cols: number; readonly stride: number },
  { targets, divisor }: Targets,
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
  const sums = tokenStatsCollector();
  if (sums) launchStats(logits, shared, segments, sums, sizes);
  else device.dispatch(crossEntropySegments, { logits: shared.logits, segments: segments.view }, sizes);
  const views = { ...shared, segments: segments.view, lse: lse.view, losses: window(losses) };
  device.dispatch(crossEntropyRows, views, sizes);
  if (gradient) device.dispatch(crossEntropyGradient, { ...shared, lse: lse.view }, { ...sizes, cap });
}

/** Statistics of segments, and what `sums` collects of the rows. */
function launchStats(
  { device }: Tensor,
  { logits, targets }: Readonly<Record<"logits" | "targets", BufferView>>,
  segments: Tensor,
  sums: Tensor,
  sizes: {
    readonly rows: number;
    readonly cols: number;
    readonly stride: number;
    readonly segmentCount: number;
  },
): void {
  const { rows, stride, segmentCount } = sizes;
  const weighted = empty(device, [rows, segmentCount]);
  const stats = empty(device, [TOKEN_STATS, rows]);
  const views = { logits, segments: segments.view, weighted: weighted.view };
  device.dispatch(crossEntropyWeighted, views, sizes);
  device.dispatch(tokenStats, { ...views, targets, stats: stats.view }, { rows, stride, segmentCount });
  device.dispatch(addTokenStats, { stats: stats.view, sums: sums.view }, { rows });
}

/** @throws {TypeError} unless labels are int32, one for each row */
export function checkLabels(action: string, labels: Tensor, rows: number): void {
  if (labels.dtype !== "int32" || labels.size !== rows) {
    throw new TypeError(
      `Cannot ${action}: int32 labels for ${rows} rows are required, received ${labels.dtype} ${
        showShape(labels.shape)
      }`,
    );
  }
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

/** What a pass through the head gives. */
export interface HeadPass {
  /** [rows], 0 for a row without a target. */
  readonly losses: Tensor;
  /** The gradient of the sum of the losses, as hidden; null where it is not wanted. */
  readonly dhidden: Tensor | null;
  /** [V, C]; null where it is not wanted. */
  readonly dweight: Tensor | null;
}

/** What is wanted of a pass. */
export interface HeadPassOptions {
  readonly needsHidden: boolean;
  /** Hidden states whose product with the logits' gradient is the weight's: `hidden`, or times a factor for each row. */
  readonly weightFrom: Tensor | null;
  readonly softcap?: number;
}

/**
 * @throws {TypeError} if sizes do not fit
 * @returns the number of rows
 */
export function checkHead(action: string, hidden: Tensor, weight: Tensor, labels: Tensor): number {
  const cols = hidden.shape.at(-1)!;
  const rows = hidden.size / cols;
  if (weight.shape.length !== 2 || weight.shape[1] !== cols) {
    throw new TypeError(
      `Cannot ${action} of hidden ${
        showShape(hidden.shape)
      }: a weight of shape [V, ${cols}] is required, received ${showShape(weight.shape)}`,
    );
  }
  checkWeight(action, weight);
  checkLabels(action, labels, rows);
  return rows;
}

/** Losses of all rows and the gradients of their sum, chunk by chunk: logits, losses, gradients, then the next chunk. */
export function runHead(
  hidden: Tensor,
  weight: Tensor,
  prepared: Targets,
  { needsHidden, weightFrom, softcap }: HeadPassOptions,
): HeadPass {
  const { device } = hidden;
  const cols = hidden.shape.at(-1)!;
  const rows = hidden.size / cols;
  const [vocabulary] = weight.shape;
  const { stride, chunk } = headChunk(device, rows, vocabulary);
  const losses = empty(device, [rows]);
  const logits = empty(device, [chunk, stride]);
  const dhidden = needsHidden ? empty(device, hidden.shape) : null;
  const dweight = weightFrom ? empty(device, weight.shape) : null;
  for (let first = 0; first < rows; first += chunk) {
    const M = Math.min(chunk, rows - first);
    const h = { tensor: hidden, ld: cols, offset: first * cols };
    const w = { tensor: weight, ld: cols };
    const l = { tensor: logits, ld: stride };
    launchMatmul(device, { layout: "nt", M, N: vocabulary, K: cols, a: h, b: w, y: l });
    const gradient = needsHidden || weightFrom !== null;
    launchRows(logits, { cols: vocabulary, stride }, prepared, losses, first, M, { gradient, cap: softcap });
    if (dhidden) {
      const y = { tensor: dhidden, ld: cols, offset: first * cols };
      launchMatmul(device, { layout: "nn", M, N: cols, K: vocabulary, a: l, b: w, y });
    }
    if (dweight) {
      launchMatmul(device, {
        ...{ layout: "tn", M: vocabulary, N: cols, K: M },
        a: l,
        b: { ...h, tensor: weightFrom! },
        y: { tensor: dweight, ld: cols },
        accumulate: first > 0,
      });
    }
  }
  return { losses, dhidden, dweight };
}
