/**
 * Rotary position embeddings: see kernels/rotary.ts.
 * @module
 */

import { rotaryKernel } from "../../kernels/rotary.ts";
import { record } from "../record.ts";
import { showShape } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";

function turn(x: Tensor, positions: Tensor, table: Tensor, sign: 1 | -1): Tensor {
  const half = table.shape[2];
  const heads = x.shape[2] / (2 * half);
  const tokens = x.shape[0] * x.shape[1];
  const y = empty(x.device, x.shape);
  const views = { x: x.view, positions: positions.view, table: table.view, y: y.view };
  x.device.dispatch(rotaryKernel, views, { tokens, positionCount: positions.size, heads, half, sign });
  return y;
}

/**
 * Turns the heads of x by their tokens' positions.
 * @param x [B, T, H D]   @param positions int32 [B, T] or [1, T], each below the length of the table
 * @param table [length, 2, D / 2]: cosines and sines of each position
 * @returns [B, T, H D]
 * @throws {TypeError} if a shape or dtype does not fit
 */
export function rotary(x: Tensor, positions: Tensor, table: Tensor): Tensor {
  checkFloat("turn", x);
  const [rows, columns] = positions.shape;
  const size = 2 * (table.shape[2] ?? 0);
  const fits = x.shape.length === 3 && table.shape.length === 3 && table.shape[1] === 2 &&
    x.shape[2] % size === 0 && positions.dtype === "int32" && positions.shape.length === 2 &&
    columns === x.shape[1] && (rows === x.shape[0] || rows === 1);
  if (!fits) {
    throw new TypeError(
      `Cannot turn x ${showShape(x.shape)} by positions ${positions.dtype} ${
        showShape(positions.shape)
      } with a table ${
        showShape(table.shape)
      }: x [B, T, H D], int32 [B, T] or [1, T] and [length, 2, D / 2] are required`,
    );
  }
  return record("rotary", {
    inputs: { x },
    saved: { positions, table },
    outputs: [turn(x, positions, table, 1)],
    backward: ({ dy, saved: { positions, table } }) => ({ x: turn(dy, positions, table, -1) }),
  });
}
