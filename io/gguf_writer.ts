/**
 * Writing GGUF files (version 3).
 *
 * @module
 */
import { GGML_TYPES } from "./gguf_types.ts";

/** A metadata value with its type. */
export type GgufOut =
  | { readonly string: string }
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly bool: boolean }
  | { readonly strings: readonly string[] }
  | { readonly i32s: readonly number[] }
  | { readonly f32s: readonly number[] };

/** A tensor to write. */
export interface GgufTensorOut {
  /** Its name. */
  readonly name: string;
  /** Its number format. */
  readonly type: "F32" | "F16" | "Q8_0";
  /** Sizes in PyTorch's order. */
  readonly shape: readonly number[];
  /** Its bytes, asked for when it is written. */
  data(): Promise<Uint8Array>;
}

const ALIGNMENT = 32;

/** Appends values as the format has them. */
class Writer {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  bytes(part: Uint8Array): void {
    this.#parts.push(part);
    this.length += part.length;
  }

  u32(value: number): void {
    this.bytes(new Uint8Array(new Uint32Array([value]).buffer));
  }

  u64(value: number): void {
    this.bytes(new Uint8Array(new BigUint64Array([BigInt(value)]).buffer));
  }

  string(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.u64(encoded.length);
    this.bytes(encoded);
  }

  pad(): void {
    this.bytes(new Uint8Array((ALIGNMENT - this.length % ALIGNMENT) % ALIGNMENT));
  }

  value(value: GgufOut): void {
    if ("string" in value) {
      this.u32(8);
      this.string(value.string);
    } else if ("u32" in value) {
      this.u32(4);
      this.u32(value.u32);
    } else if ("f32" in value) {
      this.u32(6);
      this.bytes(new Uint8Array(new Float32Array([value.f32]).buffer));
    } else if ("bool" in value) {
      this.u32(7);
      this.bytes(new Uint8Array([value.bool ? 1 : 0]));
    } else if ("strings" in value) {
      this.#array(8, value.strings.length);
      for (const text of value.strings) this.string(text);
    } else if ("i32s" in value) {
      this.#array(5, value.i32s.length);
      this.bytes(new Uint8Array(Int32Array.from(value.i32s).buffer));
    } else {
      this.#array(6, value.f32s.length);
      this.bytes(new Uint8Array(Float32Array.from(value.f32s).buffer));
    }
  }

  #array(type: number, length: number): void {
    this.u32(9);
    this.u32(type);
    this.u64(length);
  }

  joined(): Uint8Array {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

/** Bytes of a tensor. @throws {RangeError} for rows that are no whole blocks */
function sizeOf({ name, type, shape }: GgufTensorOut): number {
  const { elements, bytes } = GGML_TYPES[type];
  const row = shape.at(-1) ?? 1;
  if (row % elements !== 0) {
    throw new RangeError(
      `Cannot write tensor "${name}" as ${type}: rows of a multiple of ${elements} are required, received ${row}`,
    );
  }
  return shape.reduce((product, size) => product * size, 1) / elements * bytes;
}

/**
 * The pieces of a file in order: its header, then one tensor at a time.
 *
 * @throws {RangeError} for a tensor that its number format cannot hold; TypeError for data of another size.
 */
export async function* ggufPieces(
  metadata: ReadonlyMap<string, GgufOut>,
  tensors: readonly GgufTensorOut[],
): AsyncIterableIterator<Uint8Array> {
  const header = new Writer();
  header.bytes(new TextEncoder().encode("GGUF"));
  header.u32(3);
  header.u64(tensors.length);
  header.u64(metadata.size);
  for (const [key, value] of metadata) {
    header.string(key);
    header.value(value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    header.string(tensor.name);
    header.u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) header.u64(size);
    header.u32(GGML_TYPES[tensor.type].id);
    header.u64(offset);
    offset += Math.ceil(sizeOf(tensor) / ALIGNMENT) * ALIGNMENT;
  }
  header.pad();
  yield header.joined();
  for (const tensor of tensors) {
    const data = await tensor.data();
    const size = sizeOf(tensor);
    if (data.byteLength !== size) {
      throw new TypeError(
        `Cannot write tensor "${tensor.name}": ${size} bytes are required, received ${data.byteLength}`,
      );
    }
    yield data;
    const rest = (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT;
    if (rest > 0) yield new Uint8Array(rest);
  }
}
