/**
 * JSON files of models and adapters: size-capped, and every error names the file.
 *
 * @module
 */
import type { FileInput, FileSource, FolderSource } from "./file_source.ts";
import { openFile } from "./open_file.ts";
import { quote } from "./relative_path.ts";

/** The default limit of {@linkcode readJson}: 10 MiB. */
export const MAX_JSON_BYTES: number = 10 * 1024 * 1024;

/** A parsed JSON object. Its keys come from a file: test with `Object.hasOwn`, never merge it into another object. */
export type JsonObject = { readonly [key: string]: unknown };

/** Thrown when a file is not the JSON it should be. */
export class JsonFileError extends SyntaxError {
  /** "JsonFileError". */
  override name = "JsonFileError";
}

/** Levels of nesting that are still read, as `strict_json.ts` and serde_json do. */
const MAX_DEPTH = 127;

/** The deepest nesting of objects and arrays in a JSON text. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"':
        for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++;
        break;
      case "{":
      case "[":
        deepest = Math.max(deepest, ++depth);
        break;
      case "}":
      case "]":
        depth--;
    }
  }
  return deepest;
}

/**
 * `JSON.parse` for texts from outside: nesting that would overflow the stack of whoever walks the value is refused.
 *
 * @throws {SyntaxError} when it is not JSON, or nested more than 127 deep.
 */
export function parseJson(text: string): unknown {
  const depth = depthOf(text);
  if (depth > MAX_DEPTH) {
    throw new SyntaxError(`values nested ${depth} deep, at most ${MAX_DEPTH} are allowed`);
  }
  return JSON.parse(text);
}

async function parse(source: FileSource, maxBytes: number): Promise<unknown> {
  try {
    if (source.size > maxBytes) {
      throw new JsonFileError(
        `Cannot read ${quote(source.name)}: a JSON file may have ${maxBytes} bytes, received ${source.size}`,
      );
    }
    const bytes = await source.read(0, source.size);
    try {
      // TextDecoder drops a byte order mark, which Windows editors add
      return parseJson(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch (cause) {
      throw new JsonFileError(
        `Cannot read ${quote(source.name)}: valid JSON is required, received ${(cause as Error).message}`,
        { cause },
      );
    }
  } finally {
    await source.close();
  }
}

function asObject(value: unknown, name: string): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  const received = value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
  throw new JsonFileError(`Cannot read ${quote(name)}: a JSON object is required, received ${received}`);
}

/**
 * The JSON value of a file.
 *
 * @param options `maxBytes`: size limit, default {@linkcode MAX_JSON_BYTES}.
 * @throws {JsonFileError} when it is too large, not UTF-8 or not JSON; an Error when it cannot be opened.
 */
export async function readJson(input: FileInput, options: { maxBytes?: number } = {}): Promise<unknown> {
  return await parse(await openFile(input), options.maxBytes ?? MAX_JSON_BYTES);
}

/** {@linkcode readJson} for a file whose value must be an object. */
export async function readJsonObject(
  input: FileInput,
  options: { maxBytes?: number } = {},
): Promise<JsonObject> {
  const source = await openFile(input);
  return asObject(await parse(source, options.maxBytes ?? MAX_JSON_BYTES), source.name);
}

/** {@linkcode readJsonObject} for a file of a folder; undefined when the folder has none of that name. */
export async function readJsonFrom(
  folder: FolderSource,
  path: string,
  options: { maxBytes?: number } = {},
): Promise<JsonObject | undefined> {
  const source = await folder.open(path);
  return source && asObject(await parse(source, options.maxBytes ?? MAX_JSON_BYTES), source.name);
}

/** Writes a value as JSON with two spaces and a final newline, crash-safe, as Hugging Face's writers do. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  const { writeFileAtomic } = await import("./atomic_file.ts");
  await writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}
