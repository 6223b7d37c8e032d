/**
 * Which positions of a batch predict a label.
 * @module
 */

import { chooseRows, concat, type Device, reshape, type RowChoice, Tensor } from "../autograd/mod.ts";

/** Labels [B, NV + T] that are -100 over NV virtual tokens. */
export function ignoreBefore(labels: Tensor, virtual: number): Tensor {
  const rows = new Array(labels.shape[0]).fill(new Array(virtual).fill(-100));
  return concat([Tensor.from(rows, { dtype: "int32", device: labels.device }), labels], 1);
}

/** Positions that predict a label, int32 [n], and those labels. */
export interface FewTargets extends RowChoice {
  readonly targets: Tensor;
}

/** The head works on the chosen rows alone if these, and the last of each text, are at most that part of all. */
const MOST_ROWS = 3 / 4;

/** Hidden states [B, T, C] as rows [B T, C]. */
export function rowsOfHidden(hidden: Tensor): Tensor {
  const cols = hidden.shape.at(-1)!;
  return reshape(hidden, [hidden.size / cols, cols]);
}

/** Whether it pays to leave the positions without a label out of the head. */
function areFew(found: number, rows: number, length: number): boolean {
  return found > 0 && found + rows <= MOST_ROWS * rows * length;
}

/** Whether `fewTargets` would choose rows of a batch without virtual tokens. */
export function hasFewTargets(labels: readonly (readonly number[])[]): boolean {
  const found = labels.reduce(
    (sum, row) => sum + row.reduce((count, label, t) => count + (t > 0 && label !== -100 ? 1 : 0), 0),
    0,
  );
  return areFew(found, labels.length, labels[0].length);
}

/**
 * The positions that predict a label, and the labels, where it pays to leave the others out of the head: training on
 * answers alone has a label for a fraction of its positions. Null where most of them have one.
 * @param virtual tokens before every row
 */
export function fewTargets(
  labels: readonly (readonly number[])[],
  virtual: number,
  device: Device,
): FewTargets | null {
  const length = virtual + labels[0].length;
  const found = labels.flatMap((row, b) =>
    row.flatMap((label, t) => { // the last virtual token predicts the first label
      return virtual + t > 0 && label !== -100 ? [{ row: b * length + virtual + t - 1, label }] : [];
    })
  );
  if (!areFew(found.length, labels.length, labels[0].length)) return null;
  const count = labels.length * length;
  const targets = Tensor.from(Int32Array.from(found, ({ label }) => label), { device });
  return { ...chooseRows(device, count, found.map(({ row }) => row)), targets };
}
