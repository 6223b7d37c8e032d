/**
 * Sums, means and maxima over axes.
 * Gradients: sum repeats dy, mean repeats dy / n, max sends dy to the maximum (shared equally among ties).
 * @module
 */

import { maxReduceHits, maxReduceShare, reduceKernels, type ReduceName } from "../../kernels/reduce.ts";
import { normalizeAxis, sameShape, type Shape, showShape, sizeOf } from "../shape.ts";
import { record } from "../tape.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { expandTo } from "./movement.ts";

/** Elements one thread reduces; with one output left, fewer threads would leave the device idle. */
const CHUNK = 256;

/** Reduces the middle of [outer, n, inner] by a tree of launches; the last one multiplies by `factor`. */
function reduceMiddle(
  name: ReduceName,
  x: Tensor,
  outer: number,
  n: number,
  inner: number,
  factor: number,
): Tensor {
  const count = Math.ceil(n / CHUNK);
  const chunk = Math.max(1, Math.min(CHUNK, n));
  const y = empty(x.device, [outer, Math.max(1, count), inner]);
  const last = count <= 1;
  x.device.dispatch(reduceKernels[name], { x: x.view, y: y.view }, {
    outer,
    n: Math.max(n, 1),
    inner,
    chunk,
    scale: last ? factor : 1,
  });
  if (last) return y;
  const total = reduceMiddle(name === "sumSquares" ? "sum" : name, y, outer, count, inner, factor);
  y.dispose();
  return total;
}

/** Axes to reduce, ascending, in runs of neighbours that collapse into one middle axis. */
function reduceAxes(name: ReduceName, x: Tensor, axes: readonly number[], factor: number): Tensor {
  let y = x;
  let shape = [...x.shape];
  const runs: [number, number][] = [];
  for (const axis of axes) {
    const run = runs.at(-1);
    if (run && run[1] === axis) run[1]++;
    else runs.push([axis, axis + 1]);
  }
  runs.forEach(([from, to], i) => {
    const [outer, n, inner] = [shape.slice(0, from), shape.slice(from, to), shape.slice(to)].map(sizeOf);
    const taken = name === "sumSquares" && i > 0 ? "sum" : name; // squares are taken once
    const reduced = reduceMiddle(taken, y, outer, n, inner, i === runs.length - 1 ? factor : 1);
    if (y !== x) y.dispose();
    y = reduced;
    shape = shape.map((size, axis) => axis >= from && axis < to ? 1 : size);
  });
  const result = y.alias(shape);
  if (y !== x) y.dispose();
  return result;
}

/** Options of the reductions. */
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
  if (x.dtype !== "float32") throw new TypeError(`Cannot ${action} a ${x.dtype} tensor: float32 is required`);
  const { axes, kept, count, result } = plan(action, x.shape, options);
  if (x.size === 0) throw new RangeError(`Cannot ${action} an empty tensor of shape ${showShape(x.shape)}`);
  const factor = factorOf(count);
  const shape = x.shape;
  const total = reduceAxes("sum", x, axes, factor);
  const y = total.alias(result);
  total.dispose();
  return record(action, {
    inputs: [x],
    saved: [],
    outputs: [y],
    backward: ({ dys: [dy] }) => [expandTo(dy!.alias(kept), shape, factor)],
  });
}

/** The sum over `axis`. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduceLinear("sum", x, options, () => 1);
}

/** The sum of x^2 over one axis, without x^2 in memory. Records no gradient. */
export function sumSquares(x: Tensor, options: { axis: number }): Tensor {
  if (x.dtype !== "float32") {
    throw new TypeError(`Cannot sum squares of a ${x.dtype} tensor: float32 is required`);
  }
  const { axes, result } = plan("sum squares of", x.shape, options);
  if (x.size === 0) {
    throw new RangeError(`Cannot sum squares of an empty tensor of shape ${showShape(x.shape)}`);
  }
  const total = reduceAxes("sumSquares", x, axes, 1);
  const y = total.alias(result);
  total.dispose();
  return y;
}

/** The mean over `axis`. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduceLinear("mean", x, options, (count) => 1 / count);
}

/** The maximum over one axis; NaN if any element is NaN. */
export function max(x: Tensor, options: { axis: number; keepDims?: boolean }): Tensor {
  if (x.dtype !== "float32") {
    throw new TypeError(`Cannot take the maximum of a ${x.dtype} tensor: float32 is required`);
  }
  const { axes: [axis], result } = plan("take the maximum", x.shape, options);
  if (x.size === 0) {
    throw new RangeError(`Cannot take the maximum of an empty tensor of shape ${showShape(x.shape)}`);
  }
  const [outer, n, inner] = [x.shape.slice(0, axis), [x.shape[axis]], x.shape.slice(axis + 1)].map(sizeOf);
  const kept = reduceMiddle("max", x, outer, n, inner, 1);
  const y = kept.alias(result);
  kept.dispose();
  return record("max", {
    inputs: [x],
    saved: [x, y],
    outputs: [y],
    backward: ({ dys: [dy], saved: [x, y] }) => {
      const dx = empty(x.device, x.shape);
      const sizes = { outer, n, inner };
      x.device.dispatch(maxReduceHits, { x: x.view, y: y.view, hits: dx.view }, sizes);
      const ties = reduceMiddle("sum", dx, outer, n, inner, 1);
      x.device.dispatch(maxReduceShare, { hits: dx.view, ties: ties.view, dy: dy!.view }, sizes);
      return [dx];
    },
  });
}

/** @internal Sums `x` over the dimensions that stretch `shape` to `x.shape`: the gradient of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const pad = x.shape.length - shape.length;
  if (x.size === 0) return full(x.device, shape, 0);
  const axes = x.shape.flatMap((n, i) => i < pad || (shape[i - pad] === 1 && n !== 1) ? [i] : []);
  return axes.length === 0 ? x.alias(shape) : reduceAxes("sum", x, axes, 1).alias(shape);
}
