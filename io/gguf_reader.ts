/**
 * Reading GGUF files: the header first, checked whole; the data on demand.
 *
 * @module
 */
import type { FileInput, FileSource } from "./file_source.ts";
import {
  type GgufHeader,
  type GgufTensorInfo,
  type GgufValue,
  HeaderIsLonger,
  parseGgufHeader,
} from "./gguf_header.ts";
import { openFile } from "./open_file.ts";
import { TensorFile } from "./tensor_file.ts";

/** Bytes that are read for the header at first; twice as many each time it is longer. */
const FIRST_READ = 4 * 1024 * 1024;

/** An open GGUF file. Memory: its header, and what the caller reads. */
export class GgufFile extends TensorFile<GgufTensorInfo> {
  readonly #header: GgufHeader;

  /** Use {@linkcode openGguf}. */
  constructor(source: FileSource, header: GgufHeader) {
    super(source, header.tensors);
    this.#header = header;
  }

  /** Metadata by key, in file order. */
  get metadata(): ReadonlyMap<string, GgufValue> {
    return this.#header.metadata;
  }

  /** Tensors by name, in file order. */
  get tensors(): ReadonlyMap<string, GgufTensorInfo> {
    return this.#header.tensors;
  }
}

/**
 * Opens a GGUF file and checks its whole header; the data is read on demand.
 *
 * @param input path, URL, bytes, Blob or source.
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
