/**
 * Parts of a product's operands: which rows fit one binding, and where a block of a launch lies.
 * @module
 */
import type { BufferView } from "../../gpu/mod.ts";
import { bytesIn, rowStep, sectionsOf, type WeightBuffer } from "../../kernels/weights/mod.ts";
import type { Tensor } from "../tensor.ts";
import { formatOf } from "../windows.ts";

/** A matrix in a tensor: rows of `ld` elements from `offset` on (elements, a multiple of 64). */
export interface MatmulOperand {
  readonly tensor: Tensor;
  readonly ld: number;
  readonly offset?: number;
}

/** Elements from the first of a matrix to its last. */
const spanOf = ({ ld }: MatmulOperand, rows: number, columns: number) => (rows - 1) * ld + columns;

/** Most rows that fit the binding limit in every buffer and after which a window may begin; all rows if they fit. */
export function rowsThatFit(operand: MatmulOperand, rows: number, columns: number, limit: number): number {
  if (operand.tensor.byteLength <= limit) return rows;
  const { buffers } = formatOf(operand.tensor);
  const fits = buffers.every((buffer) => bytesIn(buffer, spanOf(operand, rows, columns)) <= limit);
  return fits ? rows : rowsOfWindow(operand, columns, limit);
}

/** Most rows of an operand that is larger than a binding may be. */
function rowsOfWindow(operand: MatmulOperand, columns: number, limit: number): number {
  const format = formatOf(operand.tensor);
  const { buffers } = format;
  const fit = Math.min(
    ...buffers.map(({ elements, bytes }) =>
      Math.floor((limit / bytes * elements - columns) / operand.ld) + 1
    ),
  );
  const step = Math.max(64, rowStep(format, operand.ld));
  const whole = Math.floor(fit / step) * step;
  if (whole < step) {
    throw new RangeError(
      `Cannot multiply: ${step} rows of an operand must fit ${limit} bytes, received rows of ${operand.ld} elements`,
    );
  }
  return whole;
}

/**
 * The ranges of a matrix from an element on, one for each buffer of its format; `span` elements, or all that follow.
 */
function rangesFrom(
  { tensor, offset = 0 }: MatmulOperand,
  element: number,
  span: number | null,
): BufferView[] {
  const format = formatOf(tensor);
  const range = (buffer: WeightBuffer, first: number, end: number): BufferView => {
    const start = bytesIn(buffer, offset + element);
    const rest = end - start;
    if (span === null) return tensor.window(first + start, rest);
    // Up to a whole vec4f: a row padded to `ld` may be read to its end.
    const bytes = Math.ceil(bytesIn(buffer, Math.max(0, span)) / 16) * 16;
    return tensor.window(first + start, Math.max(4, Math.min(bytes, rest)));
  };
  const { buffers } = format;
  if (buffers.length === 1) return [range(buffers[0], 0, Math.max(4, tensor.byteLength))];
  const sections = sectionsOf(format, tensor.size);
  return buffers.map((buffer, place) => range(buffer, sections[place].offset, sections[place].bytes));
}

/** A window of a matrix: its first row and column, and the rows and columns it spans. */
export function windowOf(
  operand: MatmulOperand,
  row: number,
  column: number,
  rows: number,
  columns: number,
): BufferView[] {
  return rangesFrom(operand, row * operand.ld + column, spanOf(operand, rows, columns));
}

/** A batched operand from the block of its first matrix on: the others' blocks lie whole batch strides further. */
export function restOf(operand: MatmulOperand, row: number, column: number): BufferView[] {
  return rangesFrom(operand, row * operand.ld + column, null);
}

/** Whether an operand of a batch is larger than one binding may be. */
export function isTooLarge(operand: MatmulOperand, limit: number): boolean {
  return operand.tensor.byteLength > limit && restOf(operand, 0, 0).some(({ size }) => size > limit);
}
