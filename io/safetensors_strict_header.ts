/**
 * The JSON of a safetensors header, read byte by byte: any that is valid, and what is wrong with another.
 *
 * @module
 */
import { quote } from "./relative_path.ts";
import { isDtype, type SafetensorsDtype } from "./safetensors_dtype.ts";
import {
  type HeaderEntry,
  type HeaderJson,
  headerLength,
  placeTensors,
  readPlainHeader,
  refuse,
  type SafetensorsHeader,
} from "./safetensors_header.ts";
import { JsonReader } from "./strict_json.ts";

/** Limit for files from outside; our own. */
const MAX_TENSORS = 100_000;

function readEntry(json: JsonReader, tensor: string, defect: (problem: string) => never): HeaderEntry {
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
 * Reads the JSON of a header.
 *
 * @param json its bytes.
 * @param name what messages call the file.
 * @throws {SafetensorsError} when it is not valid JSON, or not as the format says.
 */
export function readStrictHeader(json: Uint8Array, name: string): HeaderJson {
  const defect: (problem: string) => never = (problem) => refuse(name, problem);
  const reader = new JsonReader(
    json,
    (problem, at) => defect(`the header is not valid at byte ${8 + at}: ${problem}`),
  );
  const names = new Set<string>();
  const entries: HeaderEntry[] = [];
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
  return { entries, metadata };
}

/**
 * Reads and checks the header of a file that is whole in memory.
 *
 * @param bytes the file.
 * @throws {SafetensorsError} when it is not valid: see the tests of this function for the list.
 */
export function parseHeader(bytes: Uint8Array, name = "bytes in memory"): SafetensorsHeader {
  const length = headerLength(bytes, bytes.length, name);
  const json = bytes.subarray(8, 8 + length);
  return placeTensors(
    readPlainHeader(json) ?? readStrictHeader(json, name),
    length,
    bytes.length - 8 - length,
    name,
  );
}
