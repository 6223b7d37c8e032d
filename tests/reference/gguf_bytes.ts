/**
 * Small GGUF files, byte by byte.
 * @module
 */
import { GGML_TYPES, type GgmlTypeName } from "../../io/gguf_types.ts";

/** Writes numbers and strings as GGUF has them. */
export class GgufBytes {
  readonly #bytes: number[] = [];

  get length(): number {
    return this.#bytes.length;
  }

  raw(...bytes: number[]): this {
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  u32(value: number): this {
    return this.raw(...new Uint8Array(new Uint32Array([value]).buffer));
  }

  u64(value: number | bigint): this {
    return this.raw(...new Uint8Array(new BigUint64Array([BigInt(value)]).buffer));
  }

  f32(value: number): this {
    return this.raw(...new Uint8Array(new Float32Array([value]).buffer));
  }

  string(text: string): this {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    for (const byte of bytes) this.#bytes.push(byte);
    return this;
  }

  padTo(multiple: number): this {
    while (this.length % multiple !== 0) this.raw(0);
    return this;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes);
  }
}

/** One tensor of a small file. */
export interface SmallTensor {
  readonly name: string;
  readonly type: GgmlTypeName;
  /** PyTorch's order. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** A metadata entry: type number, and what writes the value. */
export type SmallValue = readonly [type: number, write: (out: GgufBytes) => void];

/** A whole file. */
export function ggufFile(
  metadata: Readonly<Record<string, SmallValue>>,
  tensors: readonly SmallTensor[],
  { version = 3, alignment = 32 } = {},
): Uint8Array<ArrayBuffer> {
  const out = new GgufBytes().raw(0x47, 0x47, 0x55, 0x46).u32(version);
  out.u64(tensors.length).u64(Object.keys(metadata).length);
  for (const [key, [type, write]] of Object.entries(metadata)) {
    out.string(key).u32(type);
    write(out);
  }
  let offset = 0;
  for (const { name, type, shape, data } of tensors) {
    out.string(name).u32(shape.length);
    for (const size of [...shape].reverse()) out.u64(size);
    out.u32(GGML_TYPES[type].id).u64(offset);
    offset = Math.ceil((offset + data.length) / alignment) * alignment;
  }
  for (const { data } of tensors) out.padTo(alignment).raw(...data);
  return out.padTo(tensors.length > 0 ? 1 : alignment).bytes();
}
