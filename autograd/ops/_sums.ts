/**
 * Launches that reduce axes of a tensor; outside the tape.
 * @module
 */
import { reduceKernels, type ReduceName } from "../../kernels/reduce.ts";
import { sameShape, type Shape, sizeOf } from "../shape.ts";
import { empty, full, type Tensor } from "../tensor.ts";

/** Elements one thread reduces; with one output left, fewer threads would leave the device idle. */
const CHUNK = 256;

/** Reduces the middle of [outer, n, inner] by a tree of launches; the last one multiplies by `factor`. */
export function reduceMiddle(
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

/** Reduces `axes` (ascending) to size 1: runs of neighbours collapse into one middle axis each. */
export function reduceAxes(name: ReduceName, x: Tensor, axes: readonly number[], factor: number): Tensor {
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

/** Sums `x` over the dimensions that stretch `shape` to `x.shape`: the gradient of broadcasting. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const pad = x.shape.length - shape.length;
  if (x.size === 0) return full(x.device, shape, 0);
  const axes = x.shape.flatMap((n, i) => i < pad || (shape[i - pad] === 1 && n !== 1) ? [i] : []);
  return axes.length === 0 ? x.alias(shape) : reduceAxes("sum", x, axes, 1).alias(shape);
}
