/**
 * Shapes and broadcasting.
 * @module
 */

/**
 * Sizes of a tensor's dimensions, outermost first; `[]` is a scalar.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 * import type { Shape } from "@peft/webgpu/tensor";
 *
 * const sizeOf = (shape: Shape) => shape.reduce((n, m) => n * m, 1);
 * const device = await initDevice();
 * console.log(sizeOf(Tensor.from([[1, 2, 3]], { device }).shape), sizeOf(Tensor.from(5, { device }).shape)); // 3 1
 * ```
 */
export type Shape = readonly number[];

/**
 * Numbers nested to any depth, such as `[[1, 2], [3, 4]]`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { type NestedArray, Tensor } from "@peft/webgpu/tensor";
 *
 * const rows: NestedArray = JSON.parse("[[[1, 2], [3, 4]]]");
 * console.log(Tensor.from(rows, { device: await initDevice() }).shape); // [1, 2, 2]
 * ```
 */
export type NestedArray = number | readonly NestedArray[];

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const n of shape) size *= n;
  return size;
}

/** Whether two shapes are equal. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** `[2, 3]`, for messages. */
export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/**
 * The common shape by NumPy's rule: dimensions aligned at the right, 1 stretches.
 * @throws {TypeError} if two sizes differ and neither is 1
 */
export function broadcastShapes(action: string, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  const shape = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const m = a[a.length - i] ?? 1;
    const n = b[b.length - i] ?? 1;
    if (m !== n && m !== 1 && n !== 1) {
      throw new TypeError(
        `Cannot ${action} ${showShape(a)} and ${
          showShape(b)
        }: sizes must be equal or 1, received ${m} and ${n}`,
      );
    }
    shape[rank - i] = m === 1 ? n : m;
  }
  return shape;
}

/** Strides that read `shape` as if it had the shape `target`: 0 where a dimension is stretched. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const strides = stridesOf(shape);
  const pad = target.length - shape.length;
  return target.map((n, i) => i < pad || (shape[i - pad] === 1 && n !== 1) ? 0 : strides[i - pad]);
}

/**
 * A dimension index from -rank..rank-1 as 0..rank-1.
 * @throws {RangeError} outside
 */
export function normalizeAxis(action: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new RangeError(
      `Cannot ${action}: the axis must be from ${-rank} to ${rank - 1}, received ${axis}`,
    );
  }
  return axis < 0 ? axis + rank : axis;
}

/** `x` read as rows of its last axis. */
export function lastAxisRows(shape: Shape): { rows: number; cols: number } {
  const cols = shape.at(-1) ?? 1;
  return { rows: cols === 0 ? 0 : sizeOf(shape) / cols, cols };
}

/** Shape of a nested array, outermost first; ragged rows are an error. */
export function nestedShape(value: unknown): number[] {
  const shape: number[] = [];
  for (let v = value; Array.isArray(v); v = v[0]) shape.push(v.length);
  const check = (v: unknown, depth: number): void => {
    if (depth === shape.length) {
      if (Array.isArray(v)) throw raggedError(shape, depth, v.length);
      return;
    }
    if (!Array.isArray(v) || v.length !== shape[depth]) {
      throw raggedError(shape, depth, Array.isArray(v) ? v.length : 1);
    }
    for (const item of v) check(item, depth + 1);
  };
  check(value, 0);
  return shape;
}

function raggedError(shape: Shape, depth: number, length: number): TypeError {
  return new TypeError(
    `Cannot make a tensor of a ragged array: rows of dimension ${depth} must have ${
      shape[depth] ?? "no"
    } elements, received ${length}`,
  );
}
