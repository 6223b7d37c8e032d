/**
 * What many ops require of their operands.
 * @module
 */
import {
  fitsFormat,
  LOADED_TYPES,
  type WeightFormat,
  type WeightFormatName,
} from "../../kernels/weights/mod.ts";
import { weightFormat } from "../dtype.ts";
import { showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** @throws {TypeError} unless `x` is float32 */
export function checkFloat(action: string, x: Tensor): void {
  if (x.dtype !== "float32") {
    throw new TypeError(
      `Cannot ${action} a ${x.dtype} tensor of shape ${showShape(x.shape)}: float32 is required`,
    );
  }
}

/**
 * The format of a weight.
 * @throws {TypeError} if its element type stores no weights, or its rows do not consist of whole blocks
 */
export function checkWeight(action: string, weight: Tensor): WeightFormat<WeightFormatName> {
  const format = weightFormat(weight.dtype);
  if (!format) {
    throw new TypeError(
      `Cannot ${action}: a ${LOADED_TYPES.join(" or ")} weight is required, received ${weight.dtype}`,
    );
  }
  if (!fitsFormat(format, weight.shape)) {
    throw new TypeError(
      `Cannot ${action}: the weight is ${weight.dtype} ${showShape(weight.shape)}, and ${format.rule}`,
    );
  }
  return format;
}

/** Fails unless `p` is a probability below 1. @throws {RangeError} otherwise */
export function checkDropout(name: string, p: number): number {
  if (!(p >= 0 && p <= 1)) {
    throw new RangeError(`Cannot set ${name}: a number from 0 to 1 is required, received ${p}`);
  }
  return p;
}
