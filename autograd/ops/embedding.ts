/**
 * Rows of a table by id: y[..., :] = table[ids[...]]. Gradient: each row of the table gets the sum of dy over the
 * places of its id, in a fixed order, without atomics.
 * @module
 */

import { embeddingBackward, embeddingForward, embeddingLinks } from "../../kernels/embedding.ts";
import { bufferNames } from "../../kernels/weights/mod.ts";
import { showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, full, type Tensor } from "../tensor.ts";
import { rowWindows, wholeViews } from "../windows.ts";
import { checkWeight } from "./_checks.ts";

/** Positions of ids whose gradients one launch sums: a thread loops over all of them at most twice. */
const CHUNK = 16_384;

/**
 * Looks up rows.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { embedding, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const table = Tensor.from([[1, 1], [2, 2], [3, 3]]);
 * const ids = Tensor.from(new Int32Array([2, 0]));
 * console.log(await embedding(ids, table).data()); // [3, 3, 1, 1]
 * ```
 * @param ids int32 [...]; values must be from 0 to V - 1 (checked where ids come from the host)
 * @param table [V, C], float32, or float16 when frozen
 * @param options `transposed`: the table is [C, V], and its columns are looked up in place
 * @returns float32 [..., C]
 * @throws {TypeError} if ids are not int32 or the table is not a matrix of weights
 */
export function embedding(ids: Tensor, table: Tensor, options: { transposed?: boolean } = {}): Tensor {
  if (ids.dtype !== "int32") throw new TypeError(`Cannot embed ${ids.dtype} ids: int32 is required`);
  if (table.shape.length !== 2) {
    throw new TypeError(`Cannot embed in a table of shape ${showShape(table.shape)}: [V, C] is required`);
  }
  const format = checkWeight("embed in", table);
  const { transposed = false } = options;
  const [rows, cols] = transposed ? [table.shape[1], table.shape[0]] : table.shape;
  const strides = transposed ? { rowStride: 1, colStride: rows } : { rowStride: cols, colStride: 1 };
  const windowsOf = (tensor: Tensor) =>
    transposed ? [{ first: 0, count: rows, views: wholeViews(tensor) }] : rowWindows(tensor, rows, cols);
  const y = empty(ids.device, [...ids.shape, cols]);
  const kernel = embeddingForward(format.name);
  const names = bufferNames(format, "table");
  for (const { first, count, views } of windowsOf(table)) {
    const params = { count: ids.size, cols, firstRow: first, tableRows: count, ...strides };
    const tables = Object.fromEntries(names.map((name, k) => [name, views[k]]));
    ids.device.dispatch(kernel, { ids: ids.view, ...tables, y: y.view }, params);
  }
  return record("embedding", {
    inputs: { table },
    saved: { ids },
    outputs: [y],
    backward: ({ dy, saved: { ids } }) => {
      const dtable = full(ids.device, table.shape, 0);
      const { device } = ids;
      for (let from = 0; from < ids.size; from += CHUNK) {
        const count = Math.min(CHUNK, ids.size - from);
        const part = ids.window(from * 4, count * 4);
        const next = empty(device, [count], "uint32");
        device.dispatch(embeddingLinks, { ids: part, next: next.view }, { count });
        const source = { ids: part, next: next.view, dy: dy.window(from * cols * 4, count * cols * 4) };
        for (const { first, count: tableRows, views: [view] } of windowsOf(dtable)) {
          const params = { count, cols, firstRow: first, tableRows, ...strides };
          device.dispatch(embeddingBackward, { ...source, dtable: view }, params);
        }
        next.dispose();
      }
      return { table: dtable };
    },
  });
}
