/**
 * Conversion of element types. Packed formats such as float16 store frozen weights: they do not train, so nothing is
 * recorded in either direction.
 * @module
 */

import type { BufferView } from "../../gpu/mod.ts";
import { type CastKernel, floatToInt, intToFloat, packKernel, unpackKernel } from "../../kernels/cast.ts";
import { bufferNames, fitsFormat } from "../../kernels/weights/mod.ts";
import { type DType, weightFormat } from "../dtype.ts";
import { showShape } from "../shape.ts";
import { untracked } from "../scope.ts";
import { empty, readAndDispose, type Tensor } from "../tensor.ts";
import { elementWindows, formatOf } from "../windows.ts";

/** The kernel for a pair of element types, if there is one. Every format of weights converts from and to float32. */
function conversion(from: DType, to: DType): CastKernel | null {
  if (from === "int32" && to === "float32") return intToFloat;
  if (from === "float32" && to === "int32") return floatToInt;
  const [source, target] = [weightFormat(from), weightFormat(to)];
  if (source && to === "float32") return unpackKernel(source.name);
  if (target && from === "float32") return packKernel(target.name);
  return null;
}

/** A tensor's buffers under the names that kernels give them. */
function named(name: string, tensor: Tensor, views: readonly BufferView[]): [string, BufferView][] {
  return bufferNames(formatOf(tensor), name).map((buffer, k) => [buffer, views[k]]);
}

/**
 * The tensor in another element type, outside the gradient graph; itself (a second handle) if it has that type.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { cast, Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const half = cast(Tensor.from([1, 2, 3, 4]), "float16");
 * console.log(half.byteLength, await cast(half, "float32").data()); // 8, [1, 2, 3, 4]
 * ```
 * @throws {TypeError} for a pair that has no conversion, or a result whose last dimension its format cannot store
 */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x.alias();
  const kernel = conversion(x.dtype, dtype);
  if (!kernel) throw new TypeError(`Cannot cast ${x.dtype} to ${dtype}: there is no such conversion`);
  const format = weightFormat(dtype);
  if (format && !fitsFormat(format, x.shape)) {
    throw new TypeError(`Cannot cast ${showShape(x.shape)} to ${dtype}: ${format.rule}`);
  }
  const y = empty(x.device, x.shape, dtype);
  for (const { size, views: [from, to] } of elementWindows(x, y)) {
    const buffers = Object.fromEntries([...named("x", x, from), ...named("y", y, to)]);
    x.device.dispatch(kernel, buffers, { size });
  }
  return y;
}

/** The numbers of a weight of any element type, read back as float32. */
export async function readNumbers(x: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const numbers = untracked(() => cast(x, "float32"));
  return await readAndDispose(numbers) as Float32Array<ArrayBuffer>;
}
