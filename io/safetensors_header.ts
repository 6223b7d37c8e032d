/**
 * The header of a safetensors file: 8 bytes little-endian length, JSON, data. Reading checks everything that the
 * format promises before any data is touched.
 *
 * Source: the format section of the safetensors README and safetensors/src/tensor.rs, version 0.8. Stricter here than
 * there: duplicate keys (also in `__metadata__`) and tensor entries that are not objects are refused, as the format's
 * text says.
 *
 * @module
 */
import { foreignText } from "./foreign_text.ts";
import { quote } from "./relative_path.ts";
import { isDtype, type SafetensorsDtype, tensorBytes } from "./safetensors_dtype.ts";
import { JsonReader } from "./strict_json.ts";

/** Limits for files from outside. Source: MAX_HEADER_SIZE in tensor.rs; the second is our own. */
const MAX_HEADER_BYTES = 100_000_000;
const MAX_TENSORS = 100_000;

/**
 * Thrown when a file is not valid safetensors; nothing of it has been used then.
 *
 * @example
 * ```ts
 * import { SafetensorsError } from "@peft/webgpu";
 * import { safetensors } from "@peft/webgpu/io";
 *
 * try {
 *   await safetensors.load("examples/demo/model/config.json");
 * } catch (error) {
 *   console.log(error instanceof SafetensorsError, (error as Error).message);
 * }
 * ```
 */
export class SafetensorsError extends SyntaxError {
  /** "SafetensorsError". */
  override name = "SafetensorsError";
}

/**
 * What a header says of one tensor.
 *
 * @example
 * ```ts
 * import { safetensors, type TensorInfo } from "@peft/webgpu/io";
 *
 * const elements = ({ shape }: TensorInfo) => shape.reduce((product, size) => product * size, 1);
 * await using file = await safetensors.open("examples/demo/model/model.safetensors");
 * console.log(file.names().reduce((sum, name) => sum + elements(file.info(name)), 0), "parameters");
 * ```
 */
export interface TensorInfo {
  /** Format of the elements. */
  readonly dtype: SafetensorsDtype;
  /** Size of each dimension; [] for a single number. */
  readonly shape: readonly number[];
  /** Size in bytes. */
  readonly byteLength: number;
}

/**
 * A tensor and its place: `offset` counts from the first byte of the file.
 *
 * @example
 * ```ts
 * import { type PlacedTensor, safetensors } from "@peft/webgpu/io";
 *
 * await using file = await safetensors.open("examples/demo/model/model.safetensors");
 * const { offset, byteLength }: PlacedTensor = file.info("transformer.ln_f.weight");
 * console.log(`range: bytes=${offset}-${offset + byteLength - 1}`); // what a server is asked for
 * ```
 */
export interface PlacedTensor extends TensorInfo {
  /** First byte of the data, from the start of the file. */
  readonly offset: number;
}

/** A checked header. */
export interface SafetensorsHeader {
  /** Tensors by name, in file order. */
  readonly tensors: ReadonlyMap<string, PlacedTensor>;
  /** The `__metadata__` entry; empty when there is none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Bytes before the data: 8 and the JSON. */
  readonly dataOffset: number;
}

function refuse(name: string, problem: string): never {
  throw new SafetensorsError(`Cannot read ${quote(name)}: ${problem}`);
}

/**
 * The length of the JSON, from the first 8 bytes of a file.
 *
 * @param start the first bytes of the file, at least 8 where it has them.
 * @throws {SafetensorsError} when the length is above 100,000,000 or does not fit the file.
 */
export function headerLength(start: Uint8Array, fileSize: number, name: string): number {
  if (fileSize < 8) refuse(name, `a safetensors file has 8 bytes or more, received ${fileSize}`);
  const view = new DataView(start.buffer, start.byteOffset, 8);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    const text = foreignText(start);
    if (text) refuse(name, `a safetensors file is required, received ${text}`);
    refuse(name, `a header has at most ${MAX_HEADER_BYTES} bytes, received a header length of ${length}`);
  }
  if (8 + Number(length) > fileSize) {
    refuse(name, `the header needs ${8n + length} bytes, received a file of ${fileSize}`);
  }
  return Number(length);
}

interface Entry {
  name: string;
  dtype: SafetensorsDtype;
  shape: number[];
  begin: number;
  end: number;
}

function readEntry(json: JsonReader, tensor: string, defect: (problem: string) => never): Entry {
  let dtype: SafetensorsDtype | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  const once = (value: unknown, key: string) => {
    if (value !== undefined) defect(`tensor ${quote(tensor)} has "${key}" twice`);
  };
  json.object((key) => {
    if (key === "dtype") {
      once(dtype, key);
      const text = json.string();
      if (!isDtype(text)) defect(`tensor ${quote(tensor)} has the unknown dtype ${quote(text)}`);
      dtype = text;
    } else if (key === "shape") {
      once(shape, key);
      const sizes: number[] = shape = [];
      json.array(() => sizes.push(json.integer()));
    } else if (key === "data_offsets") {
      once(offsets, key);
      const pair: number[] = offsets = [];
      json.array(() => pair.push(json.integer()));
    } else json.skip();
  });
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    const missing = dtype === undefined ? "dtype" : shape === undefined ? "shape" : "data_offsets";
    defect(`tensor ${quote(tensor)} has no "${missing}"`);
  }
  if (offsets.length !== 2) {
    defect(`tensor ${quote(tensor)} needs two data_offsets, received ${offsets.length}`);
  }
  return { name: tensor, dtype, shape, begin: offsets[0]!, end: offsets[1]! };
}

/**
 * Reads and checks the JSON of a header.
 *
 * @param json the JSON bytes, without the 8 bytes of the length.
 * @param dataLength bytes of the file after the header.
 * @param name what messages call the file.
 * @throws {SafetensorsError} when anything is not as the format says: see the tests of this file for the list.
 */
export function parseHeaderJson(json: Uint8Array, dataLength: number, name: string): SafetensorsHeader {
  const defect: (problem: string) => never = (problem) => refuse(name, problem);
  const reader = new JsonReader(
    json,
    (problem, at) => refuse(name, `the header is not valid at byte ${8 + at}: ${problem}`),
  );
  const names = new Set<string>();
  const entries: Entry[] = [];
  const metadata = new Map<string, string>();
  reader.object((key) => {
    if (names.has(key)) defect(`the header names ${quote(key)} twice`);
    names.add(key);
    if (key !== "__metadata__") {
      if (entries.length === MAX_TENSORS) defect(`a file has at most ${MAX_TENSORS} tensors, received more`);
      entries.push(readEntry(reader, key, defect));
    } else if (!reader.takeNull()) {
      reader.object((field) => {
        if (metadata.has(field)) defect(`the metadata names ${quote(field)} twice`);
        metadata.set(field, reader.string());
      });
    }
  });
  reader.end();

  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataOffset = 8 + json.length;
  const tensors = new Map<string, PlacedTensor>();
  let at = 0;
  for (const { name: tensor, dtype, shape, begin, end } of entries) {
    if (begin !== at) {
      defect(
        `tensor ${quote(tensor)} must start at byte ${at} of the data, received ${begin}: ` +
          (begin < at ? "tensors overlap" : "there is a hole before it"),
      );
    }
    const byteLength = tensorBytes(dtype, shape);
    if (byteLength !== end - begin) {
      defect(
        `tensor ${quote(tensor)} of dtype ${dtype} and shape [${shape.join(", ")}] needs ${
          byteLength ?? "a whole number of at most 2^53 - 1"
        } bytes, received data_offsets of ${end - begin}`,
      );
    }
    tensors.set(tensor, { dtype, shape, byteLength, offset: dataOffset + begin });
    at = end;
  }
  if (at !== dataLength) {
    defect(
      `the tensors need ${at} bytes of data, received ${dataLength}: the file is ${
        at > dataLength ? "truncated" : "longer than its header says"
      }`,
    );
  }
  return { tensors, metadata, dataOffset };
}

/**
 * Reads and checks the header of a file that is whole in memory.
 *
 * @param bytes the file.
 * @throws {SafetensorsError} when it is not valid.
 */
export function parseHeader(bytes: Uint8Array, name = "bytes in memory"): SafetensorsHeader {
  const length = headerLength(bytes, bytes.length, name);
  return parseHeaderJson(bytes.subarray(8, 8 + length), bytes.length - 8 - length, name);
}
