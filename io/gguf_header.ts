/**
 * The header of a GGUF file (versions 2 and 3): metadata, and where each tensor lies. Everything that the format promises
 * is checked before any data is touched.
 * Source: docs/gguf.md and include/gguf.h of ggml.
 *
 * @module
 */
import { GGML_TYPES, type GgmlTypeName, ggmlTypeOf } from "./gguf_types.ts";
import { quote } from "./relative_path.ts";

/**
 * Thrown when a file is not valid GGUF; nothing of it has been used then.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, memoryFolder } from "@peft/webgpu";
 * import { GgufError } from "@peft/webgpu/gguf";
 *
 * try {
 *   await AutoModelForCausalLM.fromPretrained(memoryFolder({ "model.gguf": new Uint8Array(64) }));
 * } catch (error) {
 *   console.log(error instanceof GgufError, (error as Error).message);
 * }
 * ```
 */
export class GgufError extends Error {
  /** "GgufError". */
  override name = "GgufError";
}

/** A metadata value. 64-bit integers beyond 2^53 are bigint. */
export type GgufValue = number | bigint | boolean | string | GgufArray;

/** A metadata array: numbers as a typed array where their type has one. */
export type GgufArray =
  | readonly string[]
  | readonly boolean[]
  | readonly (number | bigint)[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | readonly GgufArray[];

/** A tensor of the file. */
export interface GgufTensorInfo {
  /** Its number format. */
  readonly type: GgmlTypeName;
  /** Sizes in PyTorch's order: the last dimension is contiguous, and what blocks are cut from. */
  readonly shape: readonly number[];
  /** First byte of the data, from the start of the file. */
  readonly offset: number;
  /** Size in bytes. */
  readonly byteLength: number;
}

/** A checked header. */
export interface GgufHeader {
  /** 2 or 3. */
  readonly version: number;
  /** Metadata by key, in file order. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Tensors by name, in file order. */
  readonly tensors: ReadonlyMap<string, GgufTensorInfo>;
}

/** Thrown inside the parser when the bytes end before the header does. */
export class HeaderIsLonger extends Error {}

/** Longest key, from gguf.md. */
const MAX_KEY_BYTES = 65535;
/** Longest tensor name: GGML_MAX_NAME of ggml.h, with its final zero. */
const MAX_TENSOR_NAME_BYTES = 63;
/** GGML_MAX_DIMS. */
const MAX_DIMENSIONS = 4;
/** Arrays in arrays. */
const MAX_DEPTH = 4;
/** Our own limits for files from outside. */
const MAX_ENTRIES = 100_000;

/** Bytes of a value of each type; 0 for strings and arrays, whose length is in the file. */
const VALUE_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8] as const;
const STRING = 8;
const ARRAY = 9;
const TYPED_ARRAYS = {
  0: Uint8Array,
  1: Int8Array,
  2: Uint16Array,
  3: Int16Array,
  4: Uint32Array,
  5: Int32Array,
  6: Float32Array,
  12: Float64Array,
} as const;

/** Reads values one after another from the first bytes of a file. */
class Cursor {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #fileSize: number;
  readonly #name: string;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>, fileSize: number, name: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileSize = fileSize;
    this.#name = name;
  }

  refuse(problem: string): never {
    throw new GgufError(`Cannot read ${quote(this.#name)}: ${problem}`);
  }

  /** The place of the next `length` bytes, and steps over them. */
  #take(length: number, what: string): number {
    const start = this.at;
    if (length > this.#fileSize - start) {
      this.refuse(`the file ends at byte ${this.#fileSize}, inside ${what}`);
    }
    if (length > this.#bytes.length - start) throw new HeaderIsLonger();
    this.at += length;
    return start;
  }

  u32(what: string): number {
    return this.#view.getUint32(this.#take(4, what), true);
  }

  /** A 64-bit count or size, as a number. */
  count(what: string): number {
    const value = this.#view.getBigUint64(this.#take(8, what), true);
    // more than the file could hold, whatever it counts; also keeps it a safe integer
    if (value > BigInt(this.#fileSize)) {
      this.refuse(`${what} is ${value}, more than the ${this.#fileSize} bytes of the file`);
    }
    return Number(value);
  }

  /** A 64-bit size that may be beyond the file's. */
  size(what: string): number {
    const value = this.#view.getBigUint64(this.#take(8, what), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.refuse(`${what} is ${value}, which no tensor can have`);
    return Number(value);
  }

  string(what: string, maxBytes = Infinity): string {
    const length = this.count(`the length of ${what}`);
    if (length > maxBytes) this.refuse(`${what} has ${length} bytes, at most ${maxBytes} are allowed`);
    const start = this.#take(length, what);
    try {
      return this.#decoder.decode(this.#bytes.subarray(start, start + length));
    } catch {
      return this.refuse(`${what} is not UTF-8`);
    }
  }

  value(type: number, what: string, depth = 0): GgufValue {
    if (type === STRING) return this.string(what);
    if (type === ARRAY) return this.#array(what, depth + 1);
    const size = VALUE_BYTES[type];
    if (size === undefined) this.refuse(`${what} has the unknown value type ${type}`);
    return this.#scalar(type, this.#take(size, what), what);
  }

  #scalar(type: number, start: number, what: string): number | bigint | boolean {
    const view = this.#view;
    switch (type) {
      case 0:
        return view.getUint8(start);
      case 1:
        return view.getInt8(start);
      case 2:
        return view.getUint16(start, true);
      case 3:
        return view.getInt16(start, true);
      case 4:
        return view.getUint32(start, true);
      case 5:
        return view.getInt32(start, true);
      case 6:
        return view.getFloat32(start, true);
      case 7: {
        const byte = view.getUint8(start);
        if (byte > 1) this.refuse(`${what} must be 0 or 1 as a bool, received ${byte}`);
        return byte === 1;
      }
      case 10:
        return plain(view.getBigUint64(start, true));
      case 11:
        return plain(view.getBigInt64(start, true));
      default:
        return view.getFloat64(start, true);
    }
  }

  #array(what: string, depth: number): GgufArray {
    if (depth > MAX_DEPTH) this.refuse(`${what} is nested more than ${MAX_DEPTH} deep`);
    const type = this.u32(`the element type of ${what}`);
    const length = this.count(`the length of ${what}`);
    if (type >= VALUE_BYTES.length) this.refuse(`${what} has the unknown element type ${type}`);
    // a string takes at least its length, an array its type and length
    const least = VALUE_BYTES[type] || (type === STRING ? 8 : 12);
    if (length > (this.#fileSize - this.at) / least) {
      this.refuse(`${what} has ${length} elements, more than the rest of the file can hold`);
    }
    const Typed = TYPED_ARRAYS[type as keyof typeof TYPED_ARRAYS];
    if (Typed !== undefined) {
      const start = this.#take(length * VALUE_BYTES[type], what);
      return new Typed(this.#bytes.slice(start, this.at).buffer); // a copy is aligned; bytes are little-endian
    }
    const values: GgufValue[] = [];
    for (let i = 0; i < length; i++) values.push(this.value(type, `element ${i} of ${what}`, depth));
    return values as GgufArray;
  }
}

/** A number where that is exact. */
function plain(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function readTensor(
  cursor: Cursor,
  index: number,
): [name: string, info: Omit<GgufTensorInfo, "offset">, at: number] {
  const name = cursor.string(`the name of tensor ${index}`, MAX_TENSOR_NAME_BYTES);
  const what = `tensor ${quote(name)}`;
  const dimensions = cursor.u32(`the number of dimensions of ${what}`);
  if (dimensions > MAX_DIMENSIONS) {
    cursor.refuse(`${what} has ${dimensions} dimensions, at most ${MAX_DIMENSIONS} are allowed`);
  }
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.unshift(cursor.size(`dimension ${i} of ${what}`));
  const id = cursor.u32(`the number format of ${what}`);
  const type = ggmlTypeOf(id);
  if (type === undefined) cursor.refuse(`${what} has the unknown number format ${id}`);
  const offset = cursor.size(`the offset of ${what}`);
  const size = shape.reduce((product, n) => product * n, 1);
  const { elements, bytes } = GGML_TYPES[type];
  if (!Number.isSafeInteger(size)) cursor.refuse(`${what} of shape [${shape}] has too many elements`);
  if (shape.includes(0)) cursor.refuse(`${what} of shape [${shape}] has no elements`);
  const row = shape.at(-1) ?? 1;
  if (row % elements !== 0) {
    cursor.refuse(`${what} of ${type} must have rows of a multiple of ${elements} elements, received ${row}`);
  }
  return [name, { type, shape, byteLength: size / elements * bytes }, offset];
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, cursor: Cursor): number {
  const value = metadata.get("general.alignment") ?? 32;
  if (typeof value === "number" && value >= 8 && value % 8 === 0 && value <= 2 ** 20) return value;
  return cursor.refuse(`general.alignment must be a multiple of 8, received ${String(value)}`);
}

/**
 * Parses and checks a header.
 *
 * @param bytes the first bytes of the file, or all of it.
 * @param fileSize bytes of the whole file.
 * @param name what messages call the file.
 * @throws {GgufError} when anything is not as the format says, or a count, size or offset does not fit the file.
 * @throws {HeaderIsLonger} when `bytes` end before the header does, though the file goes on.
 */
export function parseGgufHeader(bytes: Uint8Array<ArrayBuffer>, fileSize: number, name: string): GgufHeader {
  const cursor = new Cursor(bytes, fileSize, name);
  const magic = cursor.u32("the first four bytes");
  if (magic !== 0x46554747) cursor.refuse('a GGUF file begins with "GGUF", this one does not');
  const version = cursor.u32("the version");
  if (version === 0x03000000 || version === 0x02000000) {
    cursor.refuse("big-endian GGUF files are not supported");
  }
  if (version !== 2 && version !== 3) cursor.refuse(`GGUF version 2 or 3 is required, received ${version}`);
  const tensorCount = cursor.count("the number of tensors");
  const valueCount = cursor.count("the number of metadata entries");
  if (tensorCount > MAX_ENTRIES || valueCount > MAX_ENTRIES) {
    cursor.refuse(
      `at most ${MAX_ENTRIES} tensors and metadata entries are allowed, received ${tensorCount} and ${valueCount}`,
    );
  }
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < valueCount; i++) {
    const key = cursor.string(`the key of metadata entry ${i}`, MAX_KEY_BYTES);
    if (metadata.has(key)) cursor.refuse(`the metadata names ${quote(key)} twice`);
    metadata.set(key, cursor.value(cursor.u32(`the type of ${quote(key)}`), quote(key)));
  }
  const alignment = alignmentOf(metadata, cursor);
  const placed: [string, Omit<GgufTensorInfo, "offset">, number][] = [];
  for (let i = 0; i < tensorCount; i++) placed.push(readTensor(cursor, i));
  const start = Math.ceil(cursor.at / alignment) * alignment;
  const tensors = new Map<string, GgufTensorInfo>();
  for (const [tensor, info, at] of placed) {
    const what = `tensor ${quote(tensor)}`;
    if (tensors.has(tensor)) cursor.refuse(`the file names ${what} twice`);
    if (at % alignment !== 0) {
      cursor.refuse(`the offset of ${what} must be a multiple of ${alignment}, received ${at}`);
    }
    if (start + at + info.byteLength > fileSize) {
      cursor.refuse(
        `${what} needs bytes ${start + at} to ${
          start + at + info.byteLength
        }, the file has ${fileSize}: it is cut short or damaged`,
      );
    }
    tensors.set(tensor, { ...info, offset: start + at });
  }
  checkOverlap(tensors, cursor);
  return { version, metadata, tensors };
}

/** Refuses tensors that share bytes. */
function checkOverlap(tensors: ReadonlyMap<string, GgufTensorInfo>, cursor: Cursor): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.offset - b.offset);
  for (let i = 1; i < sorted.length; i++) {
    const [[before, { offset, byteLength }], [after, next]] = [sorted[i - 1], sorted[i]];
    if (offset + byteLength > next.offset) {
      cursor.refuse(`tensors ${quote(before)} and ${quote(after)} share bytes`);
    }
  }
}
