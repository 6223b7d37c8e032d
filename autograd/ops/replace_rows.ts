/**
 * A table with some rows replaced: y[ids[i]] = rows[i], every other row as it was. Gradient: drows[i] = dy[ids[i]].
 * Rows are copied, not computed, so that tables beyond the binding limit need no windows.
 * @module
 */

import { sameShape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";

/** Runs of ids that follow each other: where they start in `rows`, in the table, and how many they are. */
function runsOf(ids: readonly number[]): { at: number; id: number; count: number }[] {
  const runs: { at: number; id: number; count: number }[] = [];
  ids.forEach((id, at) => {
    const last = runs.at(-1);
    if (last && last.id + last.count === id) last.count++;
    else runs.push({ at, id, count: 1 });
  });
  return runs;
}

/**
 * @param table [V, C], float32, frozen   @param ids of the rows, from 0 to V - 1, each once   @param rows [ids.length,
 * C]
 * @returns [V, C]
 * @throws {TypeError} if shapes or dtypes do not fit   @throws {RangeError} for an id outside the table or given twice
 */
export function replaceRows(table: Tensor, ids: readonly number[], rows: Tensor): Tensor {
  const [rowCount, cols] = table.shape;
  if (table.shape.length !== 2 || table.dtype !== "float32" || table.requiresGrad) {
    throw new TypeError(
      `Cannot replace rows of a ${table.dtype} table ${
        showShape(table.shape)
      }: a frozen float32 matrix is required`,
    );
  }
  if (rows.dtype !== "float32" || !sameShape(rows.shape, [ids.length, cols])) {
    throw new TypeError(
      `Cannot replace rows: float32 [${ids.length}, ${cols}] is required, received ${rows.dtype} ${
        showShape(rows.shape)
      }`,
    );
  }
  if (
    new Set(ids).size !== ids.length || !ids.every((id) => Number.isInteger(id) && id >= 0 && id < rowCount)
  ) {
    throw new RangeError(
      `Cannot replace rows: ids from 0 to ${rowCount - 1}, each once, are required, received ${
        ids.join(", ")
      }`,
    );
  }
  const { device } = table;
  const bytes = cols * 4;
  const runs = runsOf(ids);
  const y = table.copy();
  for (const { at, id, count } of runs) {
    device.copy(rows.window(at * bytes, count * bytes), y.window(id * bytes, count * bytes));
  }
  return record("replaceRows", {
    inputs: { rows },
    outputs: [y],
    backward: ({ dy }) => {
      const drows = empty(device, rows.shape);
      for (const { at, id, count } of runs) {
        device.copy(dy.window(id * bytes, count * bytes), drows.window(at * bytes, count * bytes));
      }
      return { rows: drows };
    },
  });
}
