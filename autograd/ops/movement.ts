/**
 * Data movement: reshape, permute, slice, concatenate, expand. Gradients move back the same way; an expanded
 * dimension sums.
 * @module
 */

import {
  broadcastStrides,
  normalizeAxis,
  sameShape,
  type Shape,
  showShape,
  sizeOf,
  stridesOf,
} from "../shape.ts";
import { isPacked } from "../dtype.ts";
import { record } from "../record.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { gather, scatter } from "./_strided.ts";
import { sumTo } from "./_sums.ts";

function checkWords(action: string, x: Tensor): void {
  if (isPacked(x.dtype)) {
    throw new TypeError(
      `Cannot ${action} a packed ${x.dtype} tensor of shape ${showShape(x.shape)}: cast it to float32`,
    );
  }
}

/**
 * The same elements in another shape; one size may be -1. Shares memory.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { reshape, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(reshape(x, [3, 2]).shape); // [3, 2]
 * ```
 * @throws {TypeError} if the number of elements differs
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = sizeOf(shape.filter((n) => n !== -1));
  const target = shape.map((n) => n === -1 ? x.size / known : n);
  if (sizeOf(target) !== x.size || !target.every(Number.isInteger)) {
    throw new TypeError(
      `Cannot reshape ${showShape(x.shape)} to ${showShape(shape)}: ${x.size} elements are required`,
    );
  }
  const from = x.shape;
  return record("reshape", {
    inputs: { x },
    outputs: [x.alias(target)],
    backward: ({ dy }) => ({ x: dy.alias(from) }),
  });
}

/**
 * Dimensions in another order: dimension i of the result is dimension `order[i]` of x.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { permute, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(permute(x, [1, 0]).shape); // [3, 2]
 * ```
 */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  checkWords("permute", x);
  const axes = order.map((axis) => normalizeAxis("permute", axis, x.shape.length));
  if (new Set(axes).size !== x.shape.length) {
    throw new TypeError(
      `Cannot permute ${showShape(x.shape)}: every dimension is required once, received ${showShape(order)}`,
    );
  }
  const strides = stridesOf(x.shape);
  const y = gather(x, axes.map((axis) => x.shape[axis]), axes.map((axis) => strides[axis]));
  return record("permute", {
    inputs: { x },
    outputs: [y],
    backward: ({ dy }) => ({ x: permute(dy, axes.map((_, i) => axes.indexOf(i))) }),
  });
}

/**
 * Swaps the last two dimensions.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Tensor, transpose } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(await transpose(x).data()); // [1, 4, 2, 5, 3, 6]
 * ```
 */
export function transpose(x: Tensor): Tensor {
  const rank = x.shape.length;
  const order = x.shape.map((_, i) => i < rank - 2 ? i : 2 * rank - 3 - i);
  return permute(x, order);
}

/**
 * Elements `start` to `end` (exclusive; negative from the end) of one dimension.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { slice, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(await slice(x, 1, 1, 3).data()); // [2, 3, 5, 6]
 * ```
 * @throws {RangeError} outside the dimension
 */
export function slice(x: Tensor, axis: number, start: number, end?: number): Tensor {
  checkWords("slice", x);
  const at = normalizeAxis("slice", axis, x.shape.length);
  const n = x.shape[at];
  const from = start < 0 ? start + n : start;
  const to = end === undefined ? n : end < 0 ? end + n : end;
  if (!(from >= 0 && from <= to && to <= n)) {
    throw new RangeError(
      `Cannot slice dimension ${axis} of ${
        showShape(x.shape)
      }: a range within 0 to ${n} is required, received ${start} to ${end ?? n}`,
    );
  }
  const shape = x.shape.with(at, to - from);
  const strides = stridesOf(x.shape);
  const offset = from * strides[at];
  const full_ = x.shape;
  return record("slice", {
    inputs: { x },
    outputs: [gather(x, shape, strides, offset)],
    backward: ({ dy }) => {
      const dx = full(dy.device, full_, 0);
      scatter(dy, dx, strides, offset);
      return { x: dx };
    },
  });
}

/**
 * Tensors joined along one dimension.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { concat, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const x = Tensor.from([[1, 2, 3], [4, 5, 6]]);
 * console.log(await concat([x, x], 0).data()); // six numbers, twice
 * ```
 * @throws {TypeError} if other dimensions or dtypes differ, or there is nothing to join
 */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (!first) throw new TypeError("Cannot concatenate nothing: at least one tensor is required");
  const at = normalizeAxis("concatenate", axis, first.shape.length);
  for (const x of tensors) {
    checkWords("concatenate", x);
    if (x.dtype !== first.dtype || !sameShape(x.shape.with(at, 0), first.shape.with(at, 0))) {
      throw new TypeError(
        `Cannot concatenate ${showShape(first.shape)} and ${
          showShape(x.shape)
        } along dimension ${axis}: other sizes and dtypes must be equal`,
      );
    }
  }
  const sizes = tensors.map((x) => x.shape[at]);
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0));
  const y = empty(first.device, first.shape.with(at, sizes.reduce((a, b) => a + b, 0)), first.dtype);
  const strides = stridesOf(y.shape);
  tensors.forEach((x, i) => scatter(x, y, strides, starts[i] * strides[at]));
  return record("concat", {
    inputs: Object.fromEntries(tensors.map((x, i) => [`x${i}`, x])),
    outputs: [y],
    backward: ({ dy, needs }) =>
      Object.fromEntries(
        sizes.map((size, i) => [`x${i}`, needs[`x${i}`] ? slice(dy, at, starts[i], starts[i] + size) : null]),
      ),
  });
}

/**
 * @internal Overwrites rows of `target` from `firstRow` on with those of `rows` [n, ...]; outside the gradient graph.
 */
export function writeRows(target: Tensor, rows: Tensor, firstRow: number): void {
  const width = sizeOf(rows.shape.slice(1));
  scatter(rows, target, stridesOf(rows.shape), firstRow * width);
}

/** x repeated along dimensions of size 1 (and new leading ones) to `shape`. */
export function expand(x: Tensor, shape: Shape): Tensor {
  checkWords("expand", x);
  const from = x.shape;
  const fits = shape.length >= from.length &&
    from.every((n, i) => n === 1 || n === shape[i + shape.length - from.length]);
  if (!fits) {
    throw new TypeError(`Cannot expand ${showShape(from)} to ${showShape(shape)}: sizes must be equal or 1`);
  }
  return record("expand", {
    inputs: { x },
    outputs: [gather(x, shape, broadcastStrides(from, shape))],
    backward: ({ dy }) => ({ x: sumTo(dy, from) }),
  });
}
