/**
 * Folders that are kept without a file system: in a browser's private file system (`handle_store.ts`) or in memory. Models are
 * downloaded into them, checkpoints and adapters are written to them and read again.
 *
 * @module
 */
import type { Chunks } from "./atomic_file.ts";
import { type Bytes, type FileSource, type FolderSource, memorySource } from "./file_source.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/**
 * A file that is written in place: what a download that is continued later needs.
 *
 * @example
 * ```ts
 * import { memoryStore, type UpdatedFile } from "@peft/webgpu/io";
 *
 * const file: UpdatedFile = await memoryStore().update("log.jsonl");
 * await file.write(new TextEncoder().encode('{"step":1}\n'), file.size); // at its end
 * await file.close();
 * ```
 */
export interface UpdatedFile {
  /** Bytes that it has. */
  readonly size: number;
  /**
   * The bytes [offset, offset + length), or fewer where the file ends before. A file that is streamed gives those that it
   * had when it was opened.
   */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Writes bytes; the file grows if need be. @throws {Error} naming the file and the reason, such as full storage */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Cuts the file. */
  truncate(size: number): Promise<void>;
  /** Ends the writing; what was written is kept. */
  close(): Promise<void>;
}

/**
 * A folder that can be read, listed, written to and cleared. Paths are relative, with "/".
 *
 * @example
 * ```ts
 * import { diskStore, type FolderStore } from "@peft/webgpu/io";
 *
 * // removes all folders of a store but the last ones by name
 * async function keepLast(store: FolderStore, count: number) {
 *   for (const name of (await store.folders()).slice(0, -count)) await store.remove(name);
 * }
 * await keepLast(diskStore("out/runs"), 3);
 * ```
 */
export interface FolderStore extends FolderSource {
  /** Names of the files at its top, sorted. */
  list(): Promise<readonly string[]>;
  /** Names of the folders at its top, sorted. */
  folders(): Promise<readonly string[]>;
  /** A folder in it, which is made when something is written to it. */
  folder(path: string): FolderStore;
  /** Writes a file, whole or not at all. @throws {Error} naming the file and the reason */
  write(path: string, chunks: Chunks): Promise<void>;
  /** Opens a file to write in place; makes it where there is none. */
  update(path: string): Promise<UpdatedFile>;
  /** Removes a file, or a folder with all it holds; one that is not there is no error. */
  remove(path: string): Promise<void>;
}

/** Whether a value is a {@linkcode FolderStore}. */
export function isFolderStore(value: unknown): value is FolderStore {
  return typeof value === "object" && value !== null &&
    ["open", "write", "update", "remove", "list", "folders", "folder"].every((method) =>
      typeof Reflect.get(value, method) === "function"
    );
}

/** Chunks as pieces. */
export function piecesOfChunks(chunks: Chunks): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof chunks === "string") return [new TextEncoder().encode(chunks)];
  return chunks instanceof Uint8Array ? [chunks] : chunks;
}

/** Pieces in memory, as one. */
export async function collectChunks(chunks: Chunks): Promise<Bytes> {
  const pieces: Uint8Array[] = [];
  for await (const chunk of piecesOfChunks(chunks)) pieces.push(chunk.slice());
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** A file in memory that grows: room for twice what it needs each time. */
class GrowingFile implements UpdatedFile {
  size: number;
  #room: Bytes;
  readonly #keep: (bytes: Bytes) => void;

  constructor(bytes: Bytes, keep: (bytes: Bytes) => void) {
    this.#room = bytes;
    this.size = bytes.length;
    this.#keep = keep;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return Promise.resolve(this.#room.slice(offset, Math.min(this.size, offset + length)));
  }

  write(bytes: Uint8Array, offset: number): Promise<void> {
    const end = Math.max(this.size, offset + bytes.length);
    if (end > this.#room.length) {
      const room = new Uint8Array(Math.max(end, 2 * this.#room.length));
      room.set(this.#room.subarray(0, this.size));
      this.#room = room;
    }
    this.#room.set(bytes, offset);
    this.size = end;
    return Promise.resolve();
  }

  truncate(size: number): Promise<void> {
    this.#room = this.#room.slice(0, size);
    this.size = size;
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.#keep(this.#room.slice(0, this.size));
    return Promise.resolve();
  }
}

/**
 * A {@linkcode FolderStore} in memory, which ends with the program.
 *
 * @example
 * ```ts
 * import { memoryStore } from "@peft/webgpu/io";
 *
 * const store = memoryStore();
 * await store.write("notes/a.txt", "hello");
 * console.log(await store.folders(), await store.folder("notes").list()); // ["notes"] ["a.txt"]
 * ```
 */
export function memoryStore(name = "memory"): FolderStore {
  return memoryFolderStore(name, new Map(), "");
}

function memoryFolderStore(name: string, files: Map<string, Bytes>, prefix: string): FolderStore {
  const full = (path: string) => prefix + checkRelativePath(path, `use a file of ${quote(name)}`);
  /** Paths below this folder, without its own. */
  const below = () =>
    [...files.keys()].filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length));
  return {
    name,
    open(path): Promise<FileSource | undefined> {
      const bytes = files.get(full(path));
      return Promise.resolve(bytes && memorySource(bytes, `${name}/${path}`));
    },
    list: () => Promise.resolve(below().filter((path) => !path.includes("/")).sort()),
    folders: () => {
      const names = below().filter((path) => path.includes("/")).map((path) => path.split("/")[0]);
      return Promise.resolve([...new Set(names)].sort());
    },
    folder: (path) => memoryFolderStore(`${name}/${path}`, files, `${full(path)}/`),
    async write(path, chunks) {
      const place = full(path);
      files.set(place, await collectChunks(chunks));
    },
    update(path) {
      const place = full(path);
      return Promise.resolve(
        new GrowingFile(files.get(place)?.slice() ?? new Uint8Array(), (bytes) => files.set(place, bytes)),
      );
    },
    remove(path) {
      const place = full(path);
      for (const known of files.keys()) {
        if (known === place || known.startsWith(`${place}/`)) files.delete(known);
      }
      return Promise.resolve();
    },
  };
}
