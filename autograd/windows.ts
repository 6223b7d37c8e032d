/**
 * Tensors beyond the device's binding limit (128 MiB on some adapters), bound in windows. A tensor whose format has
 * several buffers is bound in as many ranges.
 * @module
 */

import type { BufferView } from "../gpu/mod.ts";
import {
  bytesIn,
  rowStep,
  sectionsOf,
  WEIGHT_FORMATS,
  type WeightFormat,
  type WeightFormatName,
} from "../kernels/weights/mod.ts";
import { type DType, weightFormat } from "./dtype.ts";
import { type Shape, showShape } from "./shape.ts";

/** What windows need of a tensor. */
export interface Windowed {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly byteLength: number;
  readonly device: { readonly limits: GPUSupportedLimits };
  readonly view: BufferView;
  window(byteOffset: number, byteLength: number): BufferView;
}

/** A window of whole rows. */
export interface RowWindow {
  /** First row. */
  readonly first: number;
  /** Number of rows. */
  readonly count: number;
  /** Its bytes in each buffer of the tensor's format. */
  readonly views: readonly BufferView[];
}

/** Rows are counted in multiples of this at least. */
const ROW_STEP = 128;

/** How a tensor's elements are stored; integers take a word each, as float32 does. */
export function formatOf({ dtype }: { readonly dtype: DType }): WeightFormat<WeightFormatName> {
  return weightFormat(dtype) ?? WEIGHT_FORMATS.float32;
}

/** All bytes of a tensor, in each buffer of its format. */
export function wholeViews(tensor: Windowed): BufferView[] {
  const format = formatOf(tensor);
  if (format.buffers.length === 1) return [tensor.view];
  return sectionsOf(format, tensor.size).map(({ offset, bytes }) => tensor.window(offset, bytes));
}

/**
 * `tensor` as `rows` rows of `cols` elements, in windows that the device can bind: one, if it all fits.
 * @throws {RangeError} if the fewest rows after which a window may begin do not fit one binding
 */
export function rowWindows(tensor: Windowed, rows: number, cols: number): RowWindow[] {
  const limit = tensor.device.limits.maxStorageBufferBindingSize;
  if (sectionsOf(formatOf(tensor), tensor.size).every(({ bytes }) => bytes <= limit)) {
    return [{ first: 0, count: rows, views: wholeViews(tensor) }];
  }
  return splitRows(tensor, rows, cols);
}

/** Several windows of rows: of a tensor that the device cannot bind whole. */
function splitRows(tensor: Windowed, rows: number, cols: number): RowWindow[] {
  const limit = tensor.device.limits.maxStorageBufferBindingSize;
  const format = formatOf(tensor);
  const sections = sectionsOf(format, tensor.size);
  const rowBytes = format.buffers.map((buffer) => bytesIn(buffer, cols));
  const longest = Math.max(...rowBytes);
  const unit = Math.max(ROW_STEP, rowStep(format, cols));
  const step = Math.floor(limit / (longest * unit)) * unit;
  if (step === 0) {
    throw new RangeError(
      `Cannot bind ${
        showShape(tensor.shape)
      } in windows: ${unit} rows must fit ${limit} bytes, received rows of ${longest}`,
    );
  }
  const windows: RowWindow[] = [];
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const views = rowBytes.map((bytes, k) =>
      tensor.window(sections[k].offset + first * bytes, count * bytes)
    );
    windows.push({ first, count, views });
  }
  return windows;
}

/** A range of elements: how many, and for each tensor its bytes in each buffer of its format. */
interface ElementWindow {
  readonly size: number;
  readonly views: readonly (readonly BufferView[])[];
}

/**
 * The elements of tensors of one size, in windows that the device can bind, side by side.
 */
export function elementWindows(...tensors: readonly Windowed[]): ElementWindow[] {
  const [{ size, device }] = tensors;
  const limit = device.limits.maxStorageBufferBindingSize;
  return tensors.every(({ byteLength }) => byteLength <= limit)
    ? [{ size, views: tensors.map(wholeViews) }]
    : splitElements(tensors, size, limit);
}

/** The windows of tensors of which one is larger than a binding may be. */
function splitElements(tensors: readonly Windowed[], size: number, limit: number): ElementWindow[] {
  const buffers = tensors.flatMap((tensor) => formatOf(tensor).buffers);
  if (buffers.every((buffer) => bytesIn(buffer, size) <= limit)) {
    return [{ size, views: tensors.map(wholeViews) }];
  }
  // Windows begin at multiples of 256 bytes in every buffer, and with a block.
  const unit = rowStep({ buffers }, 1);
  const step =
    Math.floor(Math.min(...buffers.map(({ elements, bytes }) => limit * elements / bytes)) / unit) * unit;
  return Array.from({ length: Math.ceil(size / step) }, (_, i) => {
    const count = Math.min(step, size - i * step);
    const views = tensors.map((tensor) => {
      const format = formatOf(tensor);
      const sections = sectionsOf(format, size);
      return format.buffers.map((buffer, k) =>
        tensor.window(sections[k].offset + bytesIn(buffer, i * step), bytesIn(buffer, count))
      );
    });
    return { size: count, views };
  });
}

/** The same for tensors whose formats have one buffer. */
export function flatWindows(...tensors: readonly Windowed[]): { size: number; views: BufferView[] }[] {
  return elementWindows(...tensors).map(({ size, views }) => ({ size, views: views.map(([view]) => view) }));
}
