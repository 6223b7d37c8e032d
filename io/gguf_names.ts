/**
 * How a GGUF file is told from a folder or hub id, without opening it.
 *
 * @module
 */
import type { FileInput } from "./file_source.ts";
import { isWebAddress } from "./open_file.ts";

/** Whether a file's name says that it is a GGUF file. */
export function isGgufName(name: string): boolean {
  return /\.gguf$/i.test(name);
}

/** Whether an input is one GGUF file, by its name or because it is a file at all, and no folder or hub id. */
export function isGgufFile(input: unknown): input is FileInput {
  if (typeof input === "string") return isGgufName(isWebAddress(input) ? input.split(/[?#]/)[0] : input);
  if (input instanceof URL) return isGgufName(input.pathname);
  return input instanceof Blob || input instanceof Uint8Array || input instanceof ArrayBuffer;
}
