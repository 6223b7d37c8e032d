/**
 * Files that gzip packed: unpacked into memory, because their middle cannot be read by itself.
 * @module
 */

import { type Bytes, chunksOf, type FileSource, memorySource } from "../../../io/file_source.ts";
import { refuseFile } from "./row_file.ts";

/** What a packed file may hold. */
const MOST_BYTES = 1 << 30;
const CHUNK_BYTES = 1 << 20;

/** A source as a stream. */
function streamOf(source: FileSource): ReadableStream<Bytes> {
  const chunks = chunksOf(source, 0, source.size, CHUNK_BYTES);
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}

/**
 * What a .gz file holds, as a source with the name before .gz.
 * @throws {TypeError} for a file that gzip did not pack, and for one with more than 1 GiB in it
 */
export async function gunzip(source: FileSource): Promise<FileSource> {
  const chunks: Bytes[] = [];
  let size = 0;
  const reader = streamOf(source).pipeThrough(new DecompressionStream("gzip")).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((cause) =>
      refuseFile(source, `one whole gzip file is required: ${cause.message}`, cause)
    );
    if (done) break;
    size += value.length;
    if (size > MOST_BYTES) {
      await reader.cancel();
      refuseFile(
        source,
        `at most ${MOST_BYTES} bytes in a .gz file are required, received more; unpack it first`,
      );
    }
    chunks.push(value as Bytes);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return memorySource(bytes, source.name.replace(/\.gz$/i, ""));
}
