/**
 * Which positions of a batch predict a label.
 * @module
 */

import { concat, type Device, reshape, type RowChoice, Tensor } from "../autograd/mod.ts";
import type { CausalLMInputs } from "./inputs.ts";

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

/** Which positions predict a label, on the host. */
export interface LabelRows {
  /** Numbers of the positions among all, in order; then repetitions up to a multiple of `step`. */
  readonly rows: number[];
  /** For each position its place in `rows`, -1 for one that predicts none. */
  readonly places: number[];
  /** The labels that they predict; -100 for repetitions. */
  readonly targets: number[];
}

/**
 * The positions that predict a label, and the labels, where it pays to leave the others out of the head: training on
 * answers alone has a label for a fraction of its positions. Null where most of them have one.
 * @param virtual tokens before every row   @param step their number is filled up to a multiple of this
 */
export function labelRowsOf(
  labels: readonly (readonly number[])[],
  virtual: number,
  step: number,
): LabelRows | null {
  const length = virtual + labels[0].length;
  const places = new Array<number>(labels.length * length).fill(-1);
  const rows: number[] = [];
  const targets: number[] = [];
  labels.forEach((row, b) =>
    row.forEach((label, t) => {
      if (virtual + t === 0 || label === -100) return; // the last virtual token predicts the first label
      const at = b * length + virtual + t - 1;
      places[at] = rows.push(at) - 1;
      targets.push(label);
    })
  );
  const most = MOST_ROWS * labels.length * labels[0].length;
  if (rows.length === 0 || rows.length + labels.length > most) return null;
  while (rows.length % step !== 0) {
    rows.push(rows[0]); // any row: what has no label has no gradient
    targets.push(-100);
  }
  return { rows, places, targets };
}

/** The same on the device. */
export function fewTargets(
  labels: readonly (readonly number[])[],
  virtual: number,
  device: Device,
): FewTargets | null {
  const found = labelRowsOf(labels, virtual, device.profile.labelRowStep);
  if (!found) return null;
  const { rows, places, targets } = found;
  const [r, p, t] = [rows, places, targets].map((values) => Tensor.from(Int32Array.from(values), { device }));
  return { rows: r, places: p, targets: t };
}

/** What a captured step gives of them; null where it gives none. */
export function givenTargets(
  { headRows, headPlaces, headTargets }: Pick<CausalLMInputs, "headRows" | "headPlaces" | "headTargets">,
): FewTargets | null {
  if (!headRows || !headPlaces || !headTargets) return null;
  return { rows: headRows, places: headPlaces, targets: headTargets };
}
