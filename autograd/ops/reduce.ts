/**
 * Sums, means and maxima over axes.
 * Gradients: sum repeats dy, mean repeats dy / n, max sends dy to the maximum (shared equally among ties).
 * @module
 */

import { maxReduceHits, maxReduceShare } from "../../kernels/reduce.ts";
import { normalizeAxis, type Shape, showShape, sizeOf } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";
import { expandTo } from "./_strided.ts";
import { reduceAxes, reduceMiddle } from "./_sums.ts";

/**
 * Options of the reductions.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { mean, type ReduceOptions, subtract, Tensor } from "@peft/webgpu/tensor";
 *
 * const perRow: ReduceOptions = { axis: -1, keepDims: true };
 * const x = Tensor.from([[1, 3], [2, 6]], { device: await initDevice() });
 * console.log(await subtract(x, mean(x, perRow)).data()); // [-1, 1, -2, 2]: [2, 1] broadcasts over [2, 2]
 * ```
 */
export interface ReduceOptions {
  /** Axes to reduce, negative from the end; default all. */
  axis?: number | readonly number[];
  /** Keeps reduced dimensions with size 1; default false. */
  keepDims?: boolean;
}

function plan(action: string, shape: Shape, { axis, keepDims }: ReduceOptions) {
  const given = axis === undefined ? shape.map((_, i) => i) : [axis].flat();
  const axes = [...new Set(given.map((a) => normalizeAxis(action, a, shape.length)))].sort((a, b) => a - b);
  const kept = shape.map((n, i) => axes.includes(i) ? 1 : n);
  const count = sizeOf(axes.map((i) => shape[i]));
  const result = keepDims ? kept : shape.filter((_, i) => !axes.includes(i));
  return { axes, kept, count, result };
}

function reduceLinear(
  action: string,
  x: Tensor,
  options: ReduceOptions,
  factorOf: (count: number) => number,
): Tensor {
  checkFloat(action, x);
  const { axes, kept, count, result } = plan(action, x.shape, options);
  if (x.size === 0) throw new RangeError(`Cannot ${action} an empty tensor of shape ${showShape(x.shape)}`);
  const factor = factorOf(count);
  const shape = x.shape;
  const total = reduceAxes("sum", x, axes, factor);
  const y = total.alias(result);
  total.dispose();
  return record(action, {
    inputs: { x },
    outputs: [y],
    backward: ({ dy }) => ({ x: expandTo(dy.alias(kept), shape, factor) }),
  });
}

/**
 * The sum over `axis`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { sum, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(await sum(x, { axis: 1 }).data()); // [6, 15]
 * ```
 */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduceLinear("sum", x, options, () => 1);
}

/** The sum of x^2 over one axis, without x^2 in memory. Records no gradient. */
export function sumSquares(x: Tensor, options: { axis: number }): Tensor {
  checkFloat("sum squares of", x);
  const { axes, result } = plan("sum squares of", x.shape, options);
  if (x.size === 0) {
    throw new RangeError(`Cannot sum squares of an empty tensor of shape ${showShape(x.shape)}`);
  }
  const total = reduceAxes("sumSquares", x, axes, 1);
  const y = total.alias(result);
  total.dispose();
  return y;
}

/**
 * The mean over `axis`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { mean, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(await mean(x).data()); // [3.5]
 * ```
 */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduceLinear("mean", x, options, (count) => 1 / count);
}

/**
 * The maximum over one axis; NaN if any element is NaN.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { max, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(await max(x, { axis: 0 }).data()); // [4, 5, 6]
 * ```
 */
export function max(x: Tensor, options: { axis: number; keepDims?: boolean }): Tensor {
  checkFloat("take the maximum of", x);
  const { axes: [axis], result } = plan("take the maximum", x.shape, options);
  if (x.size === 0) {
    throw new RangeError(`Cannot take the maximum of an empty tensor of shape ${showShape(x.shape)}`);
  }
  const [outer, n, inner] = [x.shape.slice(0, axis), [x.shape[axis]], x.shape.slice(axis + 1)].map(sizeOf);
  const kept = reduceMiddle("max", x, outer, n, inner, 1);
  const y = kept.alias(result);
  kept.dispose();
  return record("max", {
    inputs: { x },
    saved: { x, y },
    outputs: [y],
    backward: ({ dy, saved: { x, y } }) => {
      const dx = empty(x.device, x.shape);
      const sizes = { outer, n, inner };
      x.device.dispatch(maxReduceHits, { x: x.view, y: y.view, hits: dx.view }, sizes);
      const ties = reduceMiddle("sum", dx, outer, n, inner, 1);
      x.device.dispatch(maxReduceShare, { hits: dx.view, ties: ties.view, dy: dy.view }, sizes);
      return { x: dx };
    },
  });
}
