/**
 * Runs a layer differently for groups of samples of one batch.
 * @module
 */

import { concat, showShape, slice, Tensor, tidy } from "../../autograd/mod.ts";

/** What a layer takes besides its input, for some of the rows: a tensor, or the residual of options, is as long as it. */
export function partOfOptions<Options>(options: Options, part: (tensor: Tensor) => Tensor): Options {
  if (options instanceof Tensor) return part(options) as Options & Tensor;
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
