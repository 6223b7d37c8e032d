/**
 * Files as streams and streams as pieces, as every browser has them.
 * @module
 */

import type { FileSource } from "@peft/webgpu/io";

/** Bytes that are read at once. */
const PIECE_BYTES = 2 ** 20;

/** The bytes of a file. */
export function streamOf(file: FileSource): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      const length = Math.min(PIECE_BYTES, file.size - at);
      if (length === 0) return controller.close();
      controller.enqueue(await file.read(at, length));
      at += length;
    },
  });
}

/** The pieces of a stream, which Safari cannot iterate over. */
export async function* piecesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
