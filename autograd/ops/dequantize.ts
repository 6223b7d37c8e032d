/**
 * Numbers in the block formats of GGUF files, as float32.
 * @module
 */

import type { Device } from "../../gpu/mod.ts";
import {
  blockOf,
  DEQUANTIZE_FORMATS,
  type DequantizeFormat,
  dequantizeKernel,
} from "../../kernels/dequantize.ts";
import { empty, type Tensor } from "../tensor.ts";

export { DEQUANTIZE_FORMATS, type DequantizeFormat };

/**
 * Elements of whole blocks, outside the gradient graph.
 * @param bytes the blocks, as the file has them   @returns float32 [elements]
 * @throws {RangeError} for bytes that are no whole blocks
 */
export function dequantize(
  bytes: Uint8Array<ArrayBuffer>,
  format: DequantizeFormat,
  device: Device,
): Tensor {
  const block = blockOf(format);
  const size = bytes.byteLength / block.bytes * block.elements;
  if (!Number.isInteger(size)) {
    throw new RangeError(
      `Cannot dequantize ${format}: a multiple of ${block.bytes} bytes is required, received ${bytes.byteLength}`,
    );
  }
  const words = Math.ceil(bytes.byteLength / 4);
  const blocks = empty(device, [words], "uint32");
  let padded = bytes;
  if (bytes.byteLength % 4 !== 0) {
    padded = new Uint8Array(4 * words);
    padded.set(bytes);
  }
  device.write(blocks.view, padded);
  const y = empty(device, [size]);
  device.dispatch(dequantizeKernel(format), { blocks: blocks.view, y: y.view }, { size });
  blocks.dispose();
  return y;
}
