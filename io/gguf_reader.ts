/**
 * Reading GGUF files: the header first, checked whole; the data on demand.
 *
 * @module
 */
import { type Bytes, chunksOf, type FileInput, type FileSource } from "./file_source.ts";
import {
  type GgufHeader,
  type GgufTensorInfo,
  type GgufValue,
  HeaderIsLonger,
  parseGgufHeader,
} from "./gguf_header.ts";
import { openFile } from "./open_file.ts";
import { quote } from "./relative_path.ts";

/** Bytes that are read for the header at first; twice as many each time it is longer. */
const FIRST_READ = 4 * 1024 * 1024;

/** An open GGUF file. Memory: its header, and what the caller reads. */
export class GgufFile {
  readonly #source: FileSource;
  readonly #header: GgufHeader;

  /** Use {@linkcode openGguf}. */
  constructor(source: FileSource, header: GgufHeader) {
    this.#source = source;
    this.#header = header;
  }

  /** The path, or what messages call the bytes. */
  get name(): string {
    return this.#source.name;
  }

  /** Metadata by key, in file order. */
  get metadata(): ReadonlyMap<string, GgufValue> {
    return this.#header.metadata;
  }

  /** Tensors by name, in file order. */
  get tensors(): ReadonlyMap<string, GgufTensorInfo> {
    return this.#header.tensors;
  }

  /** All bytes of a tensor. @throws {RangeError} when there is none of that name */
  async read(name: string): Promise<Bytes> {
    const { offset, byteLength } = this.#placed(name);
    return await this.#source.read(offset, byteLength);
  }

  /**
   * The bytes of a tensor in order, in pieces of at most `maxBytes`; the last may be shorter.
   *
   * @param room may be used for the pieces: each is valid until the next is asked for.
   * @throws {RangeError} when there is no such tensor, or `maxBytes` is not a positive integer.
   */
  readChunks(name: string, maxBytes: number, room?: Bytes): AsyncIterableIterator<Bytes> {
    const { offset, byteLength } = this.#placed(name);
    return chunksOf(this.#source, offset, byteLength, maxBytes, room);
  }

  /** Releases the file; later reads fail. */
  close(): Promise<void> {
    return this.#source.close();
  }

  /** Same as {@linkcode close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #placed(name: string): GgufTensorInfo {
    const tensor = this.#header.tensors.get(name);
    if (tensor) return tensor;
    throw new RangeError(
      `Cannot read tensor ${
        quote(name)
      }: ${this.#header.tensors.size} other tensors are in ${this.name}, not this one`,
    );
  }
}

/** Whether an input is one GGUF file, by its name or because it is a file at all, and no folder or hub id. */
export function isGgufFile(input: unknown): boolean {
  if (typeof input === "string") return /\.gguf$/i.test(input);
  return input instanceof Blob || input instanceof Uint8Array || input instanceof ArrayBuffer;
}

/**
 * Opens a GGUF file and checks its whole header; the data is read on demand.
 *
 * @param input path, bytes, Blob or source.
 * @throws {GgufError} when the file is not valid; an Error when it cannot be opened.
 */
export async function openGguf(input: FileInput): Promise<GgufFile> {
  const source = await openFile(input);
  try {
    for (let length = Math.min(FIRST_READ, source.size);; length = Math.min(2 * length, source.size)) {
      try {
        const header = parseGgufHeader(await source.read(0, length), source.size, source.name);
        return new GgufFile(source, header);
      } catch (error) {
        if (!(error instanceof HeaderIsLonger)) throw error;
      }
    }
  } catch (error) {
    await source.close();
    throw error;
  }
}
