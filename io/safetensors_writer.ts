/**
 * Writing safetensors files, with the same bytes as Python's safetensors and crash-safe.
 *
 * @module
 */
import { writeFileAtomic } from "./atomic_file.ts";
import type { Bytes } from "./file_source.ts";
import { quote } from "./relative_path.ts";
import { dtypeOrder, isDtype, type SafetensorsDtype, tensorBytes } from "./safetensors_dtype.ts";
import type { TensorInfo } from "./safetensors_header.ts";

/** Unicode code point order, which is the byte order of UTF-8 (JavaScript's own order differs beyond U+FFFF). */
function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const xHigh = x >= 0xd800 && x < 0xe000;
    const yHigh = y >= 0xd800 && y < 0xe000;
    return xHigh === yHigh ? x - y : xHigh ? 1 : -1;
  }
  return a.length - b.length;
}

/**
 * Metadata for a file: strings by name.
 *
 * @example
 * ```ts
 * import { type Metadata, safetensors } from "@peft/webgpu/io";
 *
 * const metadata: Metadata = { format: "pt", step: "300" };
 * const bytes = safetensors.serialize({ loss: { dtype: "F32", shape: [], data: new Float32Array([0.25]) } }, metadata);
 * console.log((await safetensors.open(bytes)).metadata.get("step")); // 300
 * ```
 */
export type Metadata = ReadonlyMap<string, string> | Readonly<Record<string, string>>;

/**
 * The first bytes of a file (length, JSON, padding with spaces to a multiple of 8), and the tensors' names in the order
 * in which their data must follow: dtypes of greater alignment first, then by name.
 *
 * @throws {TypeError} when a dtype, a shape or a name cannot be written, or the byte counts do not fit the shapes.
 */
function buildHeader(
  tensors: ReadonlyMap<string, TensorInfo>,
  metadata?: Metadata,
): { header: Bytes; order: string[] } {
  const fields = metadata instanceof Map ? [...metadata] : Object.entries(metadata ?? {});
  const order = [...tensors.keys()].sort((a, b) =>
    dtypeOrder(tensors.get(b)!.dtype) - dtypeOrder(tensors.get(a)!.dtype) || compareCodePoints(a, b)
  );
  const parts: string[] = [];
  if (fields.length > 0) {
    const pairs = fields.sort(([a], [b]) => compareCodePoints(a, b)).map(([key, value]) => {
      if (typeof value !== "string") {
        throw new TypeError(
          `Cannot write safetensors: metadata must be strings, received a ${typeof value} for ${quote(key)}`,
        );
      }
      return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
    });
    parts.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let at = 0;
  for (const name of order) {
    const { dtype, shape, byteLength } = tensors.get(name)!;
    if (name === "__metadata__" || !name.isWellFormed()) {
      throw new TypeError(
        `Cannot write safetensors: a tensor may have any well-formed name but "__metadata__", received ${
          quote(name)
        }`,
      );
    }
    const expected = shape.every((size) => Number.isSafeInteger(size) && size >= 0)
      ? tensorBytes(dtype, shape)
      : undefined;
    if (expected !== byteLength) {
      throw new TypeError(
        `Cannot write tensor ${quote(name)}: dtype ${dtype} and shape [${shape.join(", ")}] need ${
          expected ?? "whole sizes and"
        } bytes, received ${byteLength}`,
      );
    }
    parts.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],` +
        `"data_offsets":[${at},${at + byteLength}]}`,
    );
    at += byteLength;
  }
  const json = new TextEncoder().encode(`{${parts.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return { header, order };
}

/**
 * A tensor to write; `data` may be a function, so that only one tensor at a time is in memory.
 *
 * @example
 * ```ts
 * import { safetensors, type SafetensorsInput } from "@peft/webgpu/io";
 *
 * // made when its turn comes, so that a file of many such tensors needs the memory of one
 * const noise: SafetensorsInput = {
 *   dtype: "F16",
 *   shape: [2, 3],
 *   data: () => safetensors.fromFloat32("F16", Float32Array.from({ length: 6 }, Math.random)),
 * };
 * await safetensors.save("noise.safetensors", { noise });
 * ```
 */
export interface SafetensorsInput {
  /** Format of the elements. */
  dtype: SafetensorsDtype;
  /** Size of each dimension. */
  shape: readonly number[];
  /** The elements, little-endian: any typed array, or what gives one. */
  data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

/**
 * Tensors to write, by name.
 *
 * @example
 * ```ts
 * import { safetensors, type SafetensorsInputs } from "@peft/webgpu/io";
 *
 * const entries = await safetensors.load("examples/demo/model/model.safetensors");
 * const norms: SafetensorsInputs = new Map([...entries].filter(([name]) => name.includes(".ln_")));
 * await safetensors.save("norms.safetensors", norms);
 * ```
 */
export type SafetensorsInputs =
  | ReadonlyMap<string, SafetensorsInput>
  | Readonly<Record<string, SafetensorsInput>>;

function asBytes(view: ArrayBufferView): Uint8Array {
  return view instanceof Uint8Array ? view : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Bytes of a tensor's elements; where a function makes them, those of its shape, NaN where that is none. */
export function byteLengthOf({ dtype, shape, data }: SafetensorsInput): number {
  return typeof data === "function" ? tensorBytes(dtype, shape) ?? NaN : data.byteLength;
}

interface Plan {
  inputs: Map<string, SafetensorsInput>;
  infos: Map<string, TensorInfo>;
  header: Bytes;
  order: string[];
}

/** Header and order of the data; a tensor whose bytes come from a function counts as its shape says. */
function plan(entries: SafetensorsInputs, metadata?: Metadata): Plan {
  const inputs = new Map<string, SafetensorsInput>(
    entries instanceof Map ? entries : Object.entries(entries),
  );
  const infos = new Map<string, TensorInfo>();
  for (const [name, { dtype, shape, data }] of inputs) {
    if (!isDtype(dtype)) {
      throw new TypeError(
        `Cannot write tensor ${quote(name)}: a safetensors dtype is required, received ${
          quote(String(dtype))
        }`,
      );
    }
    infos.set(name, { dtype, shape, byteLength: byteLengthOf({ dtype, shape, data }) });
  }
  return { inputs, infos, ...buildHeader(infos, metadata) };
}

async function* pieces({ inputs, infos, header, order }: Plan): AsyncIterableIterator<Uint8Array> {
  yield header;
  for (const name of order) {
    const { data } = inputs.get(name)!;
    const bytes = asBytes(typeof data === "function" ? await data() : data);
    const { byteLength } = infos.get(name)!;
    if (bytes.length !== byteLength) {
      throw new TypeError(
        `Cannot write tensor ${quote(name)}: its shape needs ${byteLength} bytes, received ${bytes.length}`,
      );
    }
    yield bytes;
  }
}

/**
 * Tensors as the bytes of a safetensors file: greater alignment first, then by name, the header padded with spaces to
 * a multiple of 8.
 *
 * @throws {TypeError} when a name, dtype or shape cannot be written or does not fit its bytes, or when data is a
 * function (those are for {@linkcode save}).
 */
export function serialize(entries: SafetensorsInputs, metadata?: Metadata): Bytes {
  const { inputs, infos, header, order } = plan(entries, metadata);
  let size = header.length;
  for (const info of infos.values()) size += info.byteLength;
  const file: Bytes = new Uint8Array(size);
  file.set(header);
  let at = header.length;
  for (const name of order) {
    const { data } = inputs.get(name)!;
    if (typeof data === "function") {
      throw new TypeError(`Cannot serialize tensor ${quote(name)}: bytes are required, received a function`);
    }
    file.set(asBytes(data), at);
    at += data.byteLength;
  }
  return file;
}

/**
 * The bytes of a safetensors file in pieces, in order; only one tensor whose data is a function is in memory at a time.
 *
 * @throws {TypeError} as {@linkcode serialize}
 */
export function safetensorsPieces(
  entries: SafetensorsInputs,
  metadata?: Metadata,
): AsyncIterable<Uint8Array> {
  return pieces(plan(entries, metadata));
}

/**
 * Writes tensors to a file, crash-safe: the old file or the whole new one, never a part. Only one tensor whose data is
 * a function is in memory at a time.
 *
 * @param path where to write; its folder must exist.
 * @param entries name to dtype, shape and bytes.
 * @param metadata strings for `__metadata__`; Hugging Face's loaders want `{ format: "pt" }`.
 * @throws {TypeError} as {@linkcode serialize}; an Error when the file cannot be written.
 */
export async function save(path: string, entries: SafetensorsInputs, metadata?: Metadata): Promise<void> {
  await writeFileAtomic(path, safetensorsPieces(entries, metadata));
}
