/**
 * Runs a layer differently for groups of samples of one batch.
 * @module
 */

import { concat, showShape, slice, type Tensor, tidy } from "../../autograd/mod.ts";

/** Options of a layer for some of the rows: a residual is as long as the input. */
export function partOfOptions<Options>(options: Options, part: (tensor: Tensor) => Tensor): Options {
  const { residual } = (options ?? {}) as { residual?: Tensor | null };
  return residual ? { ...options, residual: part(residual) } : options;
}

/**
 * Runs a layer on each group of neighbouring samples with the same key, and puts the results together.
 * @param x [samples ..., ...]   @param keys one for each sample
 * @param run the layer for one key; `part` cuts a group's rows out of a tensor as long as x
 * @throws {TypeError} if x is not as many samples
 */
export function bySample<Key>(
  x: Tensor,
  keys: readonly Key[],
  run: (key: Key, part: (tensor: Tensor) => Tensor) => Tensor,
): Tensor {
  if (keys.every((key) => key === keys[0])) return run(keys[0], (tensor) => tensor);
  const rows = x.shape[0] / keys.length;
  if (!Number.isInteger(rows)) {
    throw new TypeError(
      `Cannot mix adapters: ${keys.length} samples are required here, received ${showShape(x.shape)}`,
    );
  }
  return tidy(() => {
    const parts: Tensor[] = [];
    for (let from = 0, to = 1; from < keys.length; from = to) {
      for (to = from + 1; to < keys.length && keys[to] === keys[from];) to++;
      parts.push(run(keys[from], (tensor) => slice(tensor, 0, from * rows, to * rows)));
    }
    return concat(parts, 0);
  });
}
