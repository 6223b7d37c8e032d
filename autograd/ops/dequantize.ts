/**
 * Numbers in the block formats of files, as float32.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import { isQuantized, WEIGHT_FORMATS, type WeightType } from "../../kernels/weights/mod.ts";
import { empty, type Tensor } from "../tensor.ts";
import { cast } from "./cast.ts";

/**
 * Elements of whole blocks, outside the gradient graph.
 * @param bytes the blocks, as the file has them   @param type a format with one buffer   @returns float32 [elements]
 * @throws {RangeError} for bytes that are no whole blocks
 */
export function dequantize(bytes: Uint8Array<ArrayBuffer>, type: WeightType, device: Device): Tensor {
  const { buffers: [unit] } = WEIGHT_FORMATS[type];
  const size = bytes.byteLength / unit.bytes * unit.elements;
  if (isQuantized(type) ? bytes.byteLength % unit.bytes !== 0 : !Number.isInteger(size)) {
    throw new RangeError(
      `Cannot dequantize ${type}: a multiple of ${unit.bytes} bytes is required, received ${bytes.byteLength}`,
    );
  }
  const stored = empty(device, [size], type);
  device.write(stored.view, bytes);
  const y = cast(stored, "float32");
  stored.dispose();
  return y;
}
