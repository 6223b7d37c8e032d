/**
 * Element types of tensors.
 * @module
 */
import {
  fitsFormat,
  formatBytes,
  isQuantized,
  WEIGHT_FORMATS,
  WEIGHT_TYPES,
  type WeightArray,
  type WeightFormat,
  type WeightFormatName,
  type WeightType,
} from "../kernels/weights/mod.ts";

/**
 * Types other than `float32` that hold weights (`kernels/weights/`) store frozen ones; kernels compute in float32.
 * `float16`: two halves in a 32-bit word, the last dimension even. `int32` holds ids and labels, `uint32` masks and
 * random state.
 *
 * @example
 * ```ts
 * import { initDevice, type DType, Tensor } from "@peft/webgpu";
 *
 * const dtype: DType = "int32"; // token ids are integers
 * const ids = Tensor.from([[464, 3290]], { dtype, device: await initDevice() });
 * console.log(ids.dtype, ids.byteLength); // int32 8
 * ```
 */
export type DType = WeightType | "int32" | "uint32";

/**
 * Typed arrays that hold tensor data on the host; `float16` comes as `Uint16Array` bits, blocks as bytes.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { cast, Tensor, type TensorData } from "@peft/webgpu/tensor";
 *
 * const half = cast(Tensor.from([1, -2], { device: await initDevice() }), "float16");
 * const bits: TensorData = await half.data();
 * console.log(bits); // Uint16Array [ 15360, 49152 ]
 * ```
 */
export type TensorData =
  | Uint8Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>;

/** How an element type stores weights; null for integers. */
export function weightFormat(dtype: DType): WeightFormat<WeightFormatName> | null {
  return WEIGHT_FORMATS[dtype as WeightType] ?? null;
}

/** Bytes that `size` elements take on the device. */
export function bytesOf(dtype: DType, size: number): number {
  const format = weightFormat(dtype);
  return format ? formatBytes(format, size) : 4 * size;
}

/** Whether elements share words, so that only ops that know the format can read them. */
export function isPacked(dtype: DType): boolean {
  return (weightFormat(dtype)?.block ?? 1) > 1;
}

/** The element type for a weight of this shape: `wanted` if its rows consist of whole blocks, else float32. */
export function storageType(wanted: WeightType, shape: readonly number[]): WeightType {
  return fitsFormat(WEIGHT_FORMATS[wanted], shape) ? wanted : "float32";
}

/** Whether its elements come and go as bytes. */
export function holdsBytes(dtype: DType): boolean {
  return weightFormat(dtype)?.array === "Uint8Array";
}

/** What a shape must fulfil to be stored in a type, for messages. */
export function storageRule(dtype: WeightType): string {
  return WEIGHT_FORMATS[dtype].rule;
}

/** Loads how float16 and bfloat16 are read and written, which a bundle leaves out until something is stored so. */
export async function loadHalfFormats(): Promise<void> {
  await import("../kernels/weights/half.ts");
}

/** Loads how weights of few bits are read, and halves beside them: a bundle leaves them out until a model has some. */
export async function loadQuantizedFormats(): Promise<void> {
  await Promise.all([
    loadHalfFormats(),
    import("../kernels/weights/gguf.ts"),
    import("../kernels/weights/bitsandbytes.ts"),
    import("../kernels/matmul_grouped.ts"),
    import("../kernels/matmul_decoded.ts"),
  ]);
}

type ArrayName = WeightArray | "Int32Array";

const ARRAYS = { Float32Array, Int32Array, Uint32Array, Uint16Array, Uint8Array } as const satisfies Record<
  ArrayName,
  unknown
>;
const INTEGERS: Partial<Record<DType, ArrayName>> = { int32: "Int32Array", uint32: "Uint32Array" };

/** Host array of one element type over `bytes`. */
export function viewAs(dtype: DType, bytes: Uint8Array<ArrayBuffer>): TensorData {
  const HostArray = ARRAYS[INTEGERS[dtype] ?? weightFormat(dtype)!.array];
  const { buffer, byteOffset, byteLength } = bytes;
  return new HostArray(buffer, byteOffset, byteLength / HostArray.BYTES_PER_ELEMENT);
}

/** The element type that a host array holds; null if it holds none, or bytes, which may be of any. */
export function dtypeOfArray(data: ArrayBufferView): DType | null {
  if (data instanceof Uint8Array) return null;
  const types = [
    ...Object.entries(INTEGERS),
    ...WEIGHT_TYPES.filter((type) => !isQuantized(type)).map((type) => [type, WEIGHT_FORMATS[type].array]),
  ];
  for (const [dtype, name] of types) if (data instanceof ARRAYS[name as ArrayName]) return dtype as DType;
  return null;
}
