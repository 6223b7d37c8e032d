/**
 * Element types of tensors.
 * @module
 */

/**
 * `float16` is a storage type for frozen weights: two halves in a 32-bit word, the last dimension even; kernels
 * compute in float32. `int32` holds ids and labels, `uint32` masks and random state.
 */
export type DType = "float32" | "float16" | "int32" | "uint32";

/** Bytes an element takes on the device. */
export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  float32: 4,
  float16: 2,
  int32: 4,
  uint32: 4,
};

/** Typed arrays that hold tensor data on the host; `float16` comes as `Uint16Array` bits. */
export type TensorData =
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>;

/** Host array of one element type over `bytes`. */
export function viewAs(dtype: DType, bytes: Uint8Array<ArrayBuffer>): TensorData {
  const { buffer, byteOffset, byteLength } = bytes;
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer, byteOffset, byteLength / 4);
    case "int32":
      return new Int32Array(buffer, byteOffset, byteLength / 4);
    case "uint32":
      return new Uint32Array(buffer, byteOffset, byteLength / 4);
    case "float16":
      return new Uint16Array(buffer, byteOffset, byteLength / 2);
  }
}
