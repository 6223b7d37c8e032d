/**
 * Which variant of a row kernel suits a device.
 * @module
 */
import type { Device } from "../../gpu/mod.ts";
import type { RowVariant } from "../../kernels/rows.ts";

/** The variant for rows of `cols` elements, and how many elements it reads at once. */
export function rowKernelChoice(device: Device, cols: number): { variant: RowVariant; width: 1 | 4 } {
  const variant = cols <= device.profile.longestThreadRow ? "thread" : "workgroup";
  return { variant, width: cols % 4 === 0 ? 4 : 1 };
}

/** The variant for the columns of a matrix that is decomposed, each of `length` elements. */
export function columnVariant(device: Device, length: number): RowVariant {
  return length <= device.profile.longestThreadColumn ? "thread" : "workgroup";
}
