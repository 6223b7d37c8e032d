/**
 * Files that gzip packed: unpacked into memory, because their middle cannot be read by itself.
 * @module
 */

import { type Bytes, chunksOf, type FileSource, memorySource } from "../../../io/file_source.ts";
import { refuseFile } from "./row_file.ts";

/** What a packed file may hold. */
const MOST_BYTES = 1 << 30;
const CHUNK_BYTES = 1 << 20;

/** Places where a member seems to begin and none does, before a file is given up. */
const MOST_FALSE_BEGINS = 64;

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

/** Unpacked pieces, and the bytes that they have. */
class Unpacked {
  readonly chunks: Bytes[] = [];
  size = 0;

  /**
   * Adds what one member holds; false where it is too much.
   * @throws what the platform throws for anything but one whole member, nothing being added then
   */
  async add(packed: ReadableStream<Bytes>): Promise<boolean> {
    const before = this.chunks.length;
    const { size } = this;
    const reader = packed.pipeThrough(new DecompressionStream("gzip")).getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return true;
        this.size += value.length;
        if (this.size > MOST_BYTES) break;
        this.chunks.push(value as Bytes);
      }
    } catch (error) {
      this.chunks.length = before;
      this.size = size;
      throw error;
    }
    await reader.cancel();
    return false;
  }

  /** All of them. */
  bytes(): Bytes {
    const bytes = new Uint8Array(this.size);
    let at = 0;
    for (const chunk of this.chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }
}

/** Whether a member may begin at a place: its three fixed bytes, no reserved flag (RFC 1952, 2.3.1). */
const mayBegin = (bytes: Bytes, at: number) =>
  bytes[at] === 0x1f && bytes[at + 1] === 0x8b && bytes[at + 2] === 8 && (bytes[at + 3] & 0xe0) === 0;

/**
 * The members of a file of several, which `cat` and parallel packers make. Nothing says where one ends: each place where
 * the next may begin is tried, and only a whole member with the right checksum unpacks.
 * @returns false where they hold too much
 * @throws {TypeError} for anything else, with `cause`, why the file is not one member
 */
async function addMembers(source: FileSource, unpacked: Unpacked, cause: Error): Promise<boolean> {
  const bytes = await source.read(0, source.size);
  let begin = 0;
  let wrong = 0;
  for (let end = begin + 1; begin < bytes.length; end++) {
    if (end < bytes.length && !mayBegin(bytes, end)) continue;
    try {
      if (!await unpacked.add(new Blob([bytes.subarray(begin, end)]).stream())) return false;
      begin = end;
    } catch {
      if (end < bytes.length && ++wrong < MOST_FALSE_BEGINS) continue;
      refuseFile(source, `whole gzip members are required: ${cause.message}`, cause);
    }
  }
  return true;
}

/**
 * What a .gz file holds, all its members one after another, as a source with the name before .gz.
 * @throws {TypeError} for a file that gzip did not pack, and for one with more than 1 GiB in it
 */
export async function gunzip(source: FileSource): Promise<FileSource> {
  const unpacked = new Unpacked();
  const fits = await unpacked.add(streamOf(source)).catch((cause) => addMembers(source, unpacked, cause));
  if (!fits) {
    refuseFile(
      source,
      `at most ${MOST_BYTES} bytes in a .gz file are required, received more; unpack it first`,
    );
  }
  return memorySource(unpacked.bytes(), source.name.replace(/\.gz$/i, ""));
}
