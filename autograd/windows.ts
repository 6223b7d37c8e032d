/**
 * Tensors beyond the device's binding limit (128 MiB on some adapters), bound in windows.
 * @module
 */

import type { BufferView } from "../gpu/mod.ts";
import { BYTES_PER_ELEMENT } from "./dtype.ts";
import { showShape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** A window of whole rows. */
export interface RowWindow {
  /** First row. */
  readonly first: number;
  /** Number of rows. */
  readonly count: number;
  readonly view: BufferView;
}

/** Rows are counted in multiples of this, so that windows of float16 rows too start at multiples of 256 bytes. */
const ROW_STEP = 128;

/**
 * `tensor` as `rows` rows of `rowBytes`, in windows that the device can bind: one, if it all fits.
 * @throws {RangeError} if 128 rows do not fit one binding
 */
export function rowWindows(tensor: Tensor, rows: number, rowBytes: number): RowWindow[] {
  const limit = tensor.device.limits.maxStorageBufferBindingSize;
  if (tensor.byteLength <= limit) return [{ first: 0, count: rows, view: tensor.view }];
  const step = Math.floor(limit / (rowBytes * ROW_STEP)) * ROW_STEP;
  if (step === 0) {
    throw new RangeError(
      `Cannot bind ${
        showShape(tensor.shape)
      } in windows: ${ROW_STEP} rows must fit ${limit} bytes, received rows of ${rowBytes}`,
    );
  }
  const windows: RowWindow[] = [];
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    windows.push({ first, count, view: tensor.window(first * rowBytes, count * rowBytes) });
  }
  return windows;
}

/** The elements of tensors of one size and dtype, in windows that the device can bind, side by side. */
export function flatWindows(...tensors: readonly Tensor[]): { size: number; views: BufferView[] }[] {
  const [{ size, dtype, device }] = tensors;
  const bytes = BYTES_PER_ELEMENT[dtype];
  const step = Math.floor(device.limits.maxStorageBufferBindingSize / 256) * 256 / bytes;
  if (size <= step) return [{ size, views: tensors.map((tensor) => tensor.view) }];
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => {
    const count = Math.min(step, size - i * step);
    return { size: count, views: tensors.map((tensor) => tensor.window(i * step * bytes, count * bytes)) };
  });
}
