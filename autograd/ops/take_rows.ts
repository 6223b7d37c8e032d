/**
 * Some rows of a matrix: y[i] = x[rows[i]], with the gradient dx[rows[i]] = dy[i], 0 in every other row; and the way
 * back, y[rows[i]] = x[i], 0 in every other row, with the gradient dx[i] = dy[rows[i]].
 * @module
 */

import { embeddingForward } from "../../kernels/embedding.ts";
import type { Device } from "../../gpu/mod.ts";
import { showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, full, Tensor } from "../tensor.ts";
import { rowWindows } from "../windows.ts";

/** y[i] = x[ids[i]] for matrices of `cols` columns; rows of y whose id is -1 stay as they are. */
function copyRows(ids: Tensor, x: Tensor, y: Tensor): void {
  const [rows, cols] = x.shape;
  const kernel = embeddingForward("f32");
  for (const to of rowWindows(y, y.shape[0], cols)) {
    for (const from of rowWindows(x, rows, cols)) {
      y.device.dispatch(
        kernel,
        { ids: ids.window(to.first * 4, to.count * 4), table: from.views[0], y: to.views[0] },
        { count: to.count, cols, firstRow: from.first, tableRows: from.count, rowStride: cols, colStride: 1 },
      );
    }
  }
}

/** Rows of a matrix of `count` rows. Made before a step's launches, since a write must not overtake them. */
export interface RowChoice {
  /** int32 [n]: the rows, in the order in which they are taken. */
  readonly rows: Tensor;
  /** int32 [count]: where each row of the matrix is among them, -1 for a row that is not. */
  readonly places: Tensor;
}

/**
 * @param count rows of the matrix   @param rows from 0 to count - 1, each at most once, at least one
 * @throws {RangeError} for no row, a row outside the matrix or given twice
 */
export function chooseRows(device: Device, count: number, rows: readonly number[]): RowChoice {
  if (rows.length === 0) throw new RangeError("Cannot take rows: at least one is required, received none");
  const places = new Int32Array(count).fill(-1);
  rows.forEach((row, i) => {
    if (!Number.isInteger(row) || row < 0 || row >= count || places[row] >= 0) {
      throw new RangeError(
        `Cannot take rows: rows from 0 to ${count - 1}, each once, are required, received ${row} at ${i}`,
      );
    }
    places[row] = i;
  });
  return { rows: Tensor.from(Int32Array.from(rows), { device }), places: Tensor.from(places, { device }) };
}

/**
 * @param x float32 [count, C]
 * @returns float32 [n, C]
 * @throws {TypeError} if x is not a float32 matrix of as many rows as were chosen from
 */
export function takeRows(x: Tensor, { rows, places }: RowChoice): Tensor {
  const [count, cols] = x.shape;
  if (x.shape.length !== 2 || x.dtype !== "float32" || count !== places.size) {
    throw new TypeError(
      `Cannot take rows of ${x.dtype} ${
        showShape(x.shape)
      }: a float32 matrix of ${places.size} rows is required`,
    );
  }
  const y = empty(x.device, [rows.size, cols]);
  copyRows(rows, x, y);
  return record("takeRows", {
    inputs: { x },
    saved: { places },
    outputs: [y],
    backward: ({ dy, saved: { places } }) => {
      const dx = full(dy.device, [count, cols], 0);
      copyRows(places, dy, dx);
      return { x: dx };
    },
  });
}

/**
 * @param x float32 [n, C], a row for each that was chosen
 * @returns float32 [count, C]: each row at its place, 0 elsewhere
 * @throws {TypeError} if x is not a float32 matrix of as many rows as were chosen
 */
export function placeRows(x: Tensor, { rows, places }: RowChoice): Tensor {
  const [count, cols] = x.shape;
  if (x.shape.length !== 2 || x.dtype !== "float32" || count !== rows.size) {
    throw new TypeError(
      `Cannot place rows of ${x.dtype} ${
        showShape(x.shape)
      }: a float32 matrix of ${rows.size} rows is required`,
    );
  }
  const y = full(x.device, [places.size, cols], 0);
  copyRows(places, x, y);
  return record("placeRows", {
    inputs: { x },
    saved: { rows },
    outputs: [y],
    backward: ({ dy, saved: { rows } }) => {
      const dx = empty(dy.device, [count, cols]);
      copyRows(rows, dy, dx);
      return { x: dx };
    },
  });
}
