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
import { parseJson } from "./json.ts";
import { quote } from "./relative_path.ts";
import { isDtype, type SafetensorsDtype, tensorBytes } from "./safetensors_dtype.ts";

/** Limit for files from outside. Source: MAX_HEADER_SIZE in tensor.rs. */
const MAX_HEADER_BYTES = 100_000_000;

/** Longer headers are read without objects, which take many times the memory of their text. */
const MAX_PLAIN_BYTES = 2 ** 20;

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

/** Says that a file is not valid. */
export function refuse(name: string, problem: string): never {
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
    refuse(
      name,
      `a header has at most ${MAX_HEADER_BYTES} bytes, received a header length of ${length}`,
    );
  }
  if (8 + Number(length) > fileSize) {
    refuse(name, `the header needs ${8n + length} bytes, received a file of ${fileSize}`);
  }
  return Number(length);
}

/** A tensor as the JSON says it: its data is from byte `begin` to `end` of what follows the header. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What the JSON of a header says. */
export interface HeaderJson {
  /** Its tensors, in the JSON's order. */
  readonly entries: HeaderEntry[];
  /** The `__metadata__` entry; empty when there is none. */
  readonly metadata: ReadonlyMap<string, string>;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const areTexts = (values: unknown): values is Readonly<Record<string, string>> =>
  isObject(values) && Object.values(values).every((value) => typeof value === "string");

const areSizes = (values: unknown): values is number[] =>
  Array.isArray(values) && values.every((value) => Number.isSafeInteger(value) && value >= 0);

/**
 * The value of a JSON text; undefined where it may not be what the text says. `JSON.parse` does not show that a name is there
 * twice, how names of digits were ordered, or that a number was rounded or is not written in digits alone: a text that
 * `JSON.stringify` gives back as it was has none of that. It has lone surrogates only as escapes.
 */
function parsePlainJson(json: Uint8Array): unknown {
  try {
    const text = decoder.decode(json);
    const value = parseJson(text);
    return JSON.stringify(value) === text.trimEnd() && !text.includes("\\ud") ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A tensor's entry; undefined for any other value. */
function entryOf([name, value]: [name: string, value: unknown]): HeaderEntry | undefined {
  if (!isObject(value) || Object.keys(value).length !== 3) return undefined;
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype) || !areSizes(shape) || !areSizes(offsets) || offsets.length !== 2) return undefined;
  return { name, dtype, shape, begin: offsets[0], end: offsets[1] };
}

/**
 * Reads the JSON of a header as safetensors writes it; undefined for any other, valid or not, which
 * `safetensors_strict_header.ts` reads.
 */
export function readPlainHeader(json: Uint8Array): HeaderJson | undefined {
  if (json.length > MAX_PLAIN_BYTES) return undefined;
  const value = parsePlainJson(json);
  if (!isObject(value)) return undefined;
  const { __metadata__: fields = {}, ...tensors } = value;
  const entries = Object.entries(tensors).map(entryOf);
  const isPlain = areTexts(fields) && !entries.includes(undefined);
  return isPlain
    ? { entries: entries as HeaderEntry[], metadata: new Map(Object.entries(fields)) }
    : undefined;
}

/**
 * Places the tensors of a header in its file.
 *
 * @param header what its JSON says.
 * @param jsonLength bytes of the JSON.
 * @param dataLength bytes of the file after the header.
 * @param name what messages call the file.
 * @throws {SafetensorsError} when the tensors' data is not, one after the other, all that follows the header.
 */
export function placeTensors(
  { entries, metadata }: HeaderJson,
  jsonLength: number,
  dataLength: number,
  name: string,
): SafetensorsHeader {
  const defect: (problem: string) => never = (problem) => refuse(name, problem);
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataOffset = 8 + jsonLength;
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
