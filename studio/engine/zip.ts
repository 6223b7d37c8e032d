/**
 * Zip archives, with `fflate`.
 * @module
 */

import { BlobWriter } from "./blob_folder.ts";
import { CANCELLED, Refusal } from "./errors.ts";
import type { NamedFile } from "../protocol.ts";

/** Bytes of a file that are read at a time. */
const CHUNK_BYTES = 4 * 2 ** 20;
/** What the format's plain form holds. */
const MOST_BYTES = 2 ** 32 - 2 ** 20;
/** Bytes that an archive with an adapter may unpack to. */
const MOST_UNPACKED = 2 ** 30;

/** Date of every entry, so that the same files make the same archive. */
const DATE = new Date(2026, 0, 1);

/** Files in an archive, not compressed: numbers of weights do not get smaller. @throws {Refusal} for more than 4 GB */
export async function zip(
  files: ReadonlyMap<string, Blob>,
  signal: AbortSignal,
  onBytes: (bytes: number) => void = () => {},
): Promise<Blob> {
  const total = [...files.values()].reduce((sum, { size }) => sum + size, 0);
  if (total > MOST_BYTES) {
    throw new Refusal(
      "unsupported",
      "This is larger than the 4 GB that a .zip holds.",
      "Take it home in float16, or as GGUF in Q8_0.",
    );
  }
  const { Zip, ZipPassThrough } = await import("fflate");
  const writer = new BlobWriter();
  let failure: Error | null = null;
  const archive = new Zip((error, piece) => {
    if (error) failure = error;
    else writer.push(piece);
  });
  for (const [path, blob] of files) {
    const entry = new ZipPassThrough(path);
    entry.mtime = DATE;
    archive.add(entry);
    for (let at = 0; at < blob.size; at += CHUNK_BYTES) {
      if (signal.aborted) throw CANCELLED;
      const piece = new Uint8Array(await blob.slice(at, at + CHUNK_BYTES).arrayBuffer());
      entry.push(piece);
      onBytes(piece.length);
    }
    entry.push(new Uint8Array(), true);
  }
  archive.end();
  if (failure) throw failure;
  return writer.finish("application/zip");
}

/** The files of an archive. @throws {Refusal} for what is no archive, or unpacks to too much */
export async function unzip(blob: Blob, name: string): Promise<NamedFile[]> {
  const refuse = (title: string, whatToDo: string, detail?: string): never => {
    throw new Refusal("bad-file", title, whatToDo, detail);
  };
  const advice = "A .zip of an adapter holds adapter_config.json and adapter_model.safetensors.";
  if (blob.size > MOST_UNPACKED) refuse(`"${name}" is too large for an adapter.`, advice);
  const { unzipSync } = await import("fflate");
  let unpacked = 0;
  try {
    const files = unzipSync(new Uint8Array(await blob.arrayBuffer()), {
      filter: ({ name, originalSize }) => {
        if (name.endsWith("/") || name.startsWith("__MACOSX/")) return false;
        unpacked += originalSize;
        if (unpacked > MOST_UNPACKED) {
          throw new RangeError(`more than ${MOST_UNPACKED} bytes`);
        }
        return true;
      },
    });
    return Object.entries(files).map(([path, bytes]) => ({ path, file: new Blob([new Uint8Array(bytes)]) }));
  } catch (error) {
    return refuse(
      error instanceof RangeError
        ? `"${name}" unpacks to more than an adapter has.`
        : `"${name}" is not a complete .zip.`,
      advice,
      (error as Error).message,
    );
  }
}
