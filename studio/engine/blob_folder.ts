/**
 * A folder whose files become Blobs while they are written: what is taken home, which may be larger than memory.
 * @module
 */

import { type FolderStore, memoryFolder } from "@peft/webgpu/io";

/** Bytes that are put into a Blob together; browsers keep large Blobs on disk. */
const PIECE_BYTES = 16 * 2 ** 20;

/** Pieces as one Blob. */
export class BlobWriter {
  readonly #done: Blob[] = [];
  #pieces: Uint8Array<ArrayBuffer>[] = [];
  #bytes = 0;

  /** Adds a copy of bytes. */
  push(bytes: Uint8Array): void {
    this.#pieces.push(new Uint8Array(bytes));
    this.#bytes += bytes.length;
    if (this.#bytes >= PIECE_BYTES) this.#flush();
  }

  #flush(): void {
    this.#done.push(new Blob(this.#pieces));
    this.#pieces = [];
    this.#bytes = 0;
  }

  /** All of it. */
  finish(type: string): Blob {
    this.#flush();
    return new Blob(this.#done, { type });
  }
}

/** Files as Blobs, by their paths. */
export interface BlobFolder extends FolderStore {
  /** What was written. */
  readonly blobs: ReadonlyMap<string, Blob>;
}

/** An empty folder. @param onWrite called with the bytes of each piece */
export function blobFolder(onWrite: (bytes: number) => void = () => {}): BlobFolder {
  const blobs = new Map<string, Blob>();
  const name = "files to take home";
  const at = (prefix: string): FolderStore => ({
    name,
    open: (path) => memoryFolder(blobs, name).open(prefix + path),
    list: () => memoryFolder(blobs).list!(),
    folders: () => Promise.resolve([]),
    folder: (path) => at(`${prefix}${path}/`),
    async write(path, chunks) {
      const writer = new BlobWriter();
      const pieces = typeof chunks === "string"
        ? [new TextEncoder().encode(chunks)]
        : chunks instanceof Uint8Array
        ? [chunks]
        : chunks;
      for await (const piece of pieces) {
        writer.push(piece);
        onWrite(piece.length);
      }
      blobs.set(prefix + path, writer.finish("application/octet-stream"));
    },
    update: () => Promise.reject(new TypeError("Cannot change a file to take home")),
    remove: (path) => Promise.resolve(void blobs.delete(prefix + path)),
  });
  return { ...at(""), blobs };
}
