/**
 * A folder handle that may be written to as a {@linkcode FolderStore}: a browser's private file system
 * (`navigator.storage.getDirectory()`), or a folder that a user picked for writing.
 *
 * @module
 */
import { blobSource } from "./file_source.ts";
import { type FolderStore, piecesOfChunks, type UpdatedFile } from "./folder_store.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/**
 * What writes in place, in workers (`FileSystemSyncAccessHandle`).
 *
 * @example
 * ```ts
 * import type { SyncAccess } from "@peft/webgpu/io";
 *
 * // adds a line to a file that a worker holds
 * function append(file: SyncAccess, line: string): void {
 *   file.write(new TextEncoder().encode(`${line}\n`), { at: file.getSize() });
 *   file.flush();
 * }
 * ```
 */
export interface SyncAccess {
  /** Bytes of the file. */
  getSize(): number;
  /** Reads into the buffer; returns how many bytes. */
  read(buffer: Uint8Array, options: { at: number }): number;
  /** Writes the buffer; returns how many bytes. */
  write(buffer: Uint8Array, options: { at: number }): number;
  /** Cuts or extends the file. */
  truncate(size: number): void;
  /** Makes what was written durable. */
  flush(): void;
  /** Gives the lock of the file back. */
  close(): void;
}

/**
 * What writes a copy that takes the file's place when it is closed (`FileSystemWritableFileStream`).
 *
 * @example
 * ```ts
 * import type { WritableStreamOfFile } from "@peft/webgpu/io";
 *
 * // replaces what a file holds; where that fails, the file stays as it was
 * async function replace(stream: WritableStreamOfFile, data: Uint8Array<ArrayBuffer>): Promise<void> {
 *   try {
 *     await stream.write({ type: "write", position: 0, data });
 *     await stream.close();
 *   } catch (error) {
 *     await stream.abort();
 *     throw error;
 *   }
 * }
 * ```
 */
export interface WritableStreamOfFile {
  /** Writes bytes at a position. */
  write(chunk: { type: "write"; position: number; data: Uint8Array<ArrayBuffer> }): Promise<void>;
  /** Cuts or extends it. */
  truncate(size: number): Promise<void>;
  /** Takes the file's place. */
  close(): Promise<void>;
  /** Leaves the file as it was. */
  abort(): Promise<void>;
}

/**
 * A file that may be written to (`FileSystemFileHandle`).
 *
 * @example
 * ```ts
 * import type { WritableFileHandle } from "@peft/webgpu/io";
 *
 * // where a browser lets this file be written: in place, as a copy, or not at all
 * const wayToWrite = ({ createSyncAccessHandle, createWritable }: WritableFileHandle) =>
 *   createSyncAccessHandle ? "in place" : createWritable ? "as a copy" : null;
 * ```
 */
export interface WritableFileHandle {
  /** What is in it now. */
  getFile(): Promise<File>;
  /** In workers, for the private file system. */
  createSyncAccessHandle?(): Promise<SyncAccess>;
  /** Elsewhere. */
  createWritable?(options?: { keepExistingData?: boolean }): Promise<WritableStreamOfFile>;
  /** Renames it within its folder, in place of a file of that name. */
  move?(name: string): Promise<void>;
}

/**
 * A folder that may be written to, as far as it is used (`FileSystemDirectoryHandle`).
 *
 * @example
 * ```ts
 * import { handleStore, type WritableDirectoryHandle } from "@peft/webgpu/io";
 *
 * // names of the runs in a folder that a user picked with `showDirectoryPicker({ mode: "readwrite" })`
 * const runsIn = (picked: WritableDirectoryHandle) => handleStore(picked).folder("runs").folders();
 * ```
 */
export interface WritableDirectoryHandle {
  /** "directory". */
  readonly kind: "directory";
  /** Its own name; empty for the root of the private file system. */
  readonly name: string;
  /** A folder in it; rejects with a NotFoundError where there is none and none is to be made. */
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<WritableDirectoryHandle>;
  /** A file in it; rejects likewise. */
  getFileHandle(name: string, options?: { create?: boolean }): Promise<WritableFileHandle>;
  /** Removes a file or folder. */
  removeEntry(name: string, options?: { recursive?: boolean }): Promise<void>;
  /** What is in it. */
  entries(): AsyncIterable<[string, { readonly kind: string }]>;
}

/** Whether an error says that something is not there, or is of the other kind. */
function isMissing(error: unknown): boolean {
  const { name } = error as { name?: string };
  return name === "NotFoundError" || name === "TypeMismatchError";
}

/** Why a browser's storage refused, in words. */
function reasonOf(error: unknown): string {
  const { name, message } = error as { name?: string; message?: string };
  if (name === "QuotaExceededError") return "the browser's storage is full";
  if (name === "NoModificationAllowedError") return "the file is in use elsewhere";
  return message ?? String(error);
}

function cannot(action: string, path: string, cause: unknown): Error {
  return new Error(`Cannot ${action} ${quote(path)}: ${reasonOf(cause)}`, { cause });
}

/** Its methods are async, so that what the handle throws becomes a rejection. */
class SyncFile implements UpdatedFile {
  readonly #access: SyncAccess;
  readonly #name: string;

  constructor(access: SyncAccess, name: string) {
    this.#access = access;
    this.#name = name;
  }

  get size(): number {
    return this.#access.getSize();
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, await this.#access.read(bytes, { at: offset }));
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) {
        const count = await this.#access.write(bytes.subarray(at), { at: offset + at });
        if (count === 0) throw new DOMException("nothing was written", "QuotaExceededError");
        at += count;
      }
    } catch (cause) {
      throw cannot("write", this.#name, cause);
    }
  }

  async truncate(size: number): Promise<void> {
    await this.#access.truncate(size);
  }

  async close(): Promise<void> {
    try {
      await this.#access.flush();
    } catch (cause) {
      throw cannot("write", this.#name, cause);
    } finally {
      this.#access.close();
    }
  }
}

class StreamedFile implements UpdatedFile {
  size: number;
  readonly #handle: WritableFileHandle;
  readonly #stream: WritableStreamOfFile;
  readonly #name: string;

  constructor(handle: WritableFileHandle, stream: WritableStreamOfFile, size: number, name: string) {
    this.#handle = handle;
    this.#stream = stream;
    this.size = size;
    this.#name = name;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const file = await this.#handle.getFile(); // as it was when it was opened
    return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    const data = new Uint8Array(bytes); // over an ArrayBuffer of its own
    try {
      await this.#stream.write({ type: "write", position: offset, data });
    } catch (cause) {
      throw cannot("write", this.#name, cause);
    }
    this.size = Math.max(this.size, offset + bytes.length);
  }

  async truncate(size: number): Promise<void> {
    await this.#stream.truncate(size);
    this.size = size;
  }

  async close(): Promise<void> {
    try {
      await this.#stream.close();
    } catch (cause) {
      throw cannot("write", this.#name, cause);
    }
  }
}

async function updateFile(handle: WritableFileHandle, name: string): Promise<UpdatedFile> {
  try {
    if (handle.createSyncAccessHandle) return new SyncFile(await handle.createSyncAccessHandle(), name);
    if (handle.createWritable) {
      const { size } = await handle.getFile();
      return new StreamedFile(handle, await handle.createWritable({ keepExistingData: true }), size, name);
    }
  } catch (cause) {
    throw cannot("open", name, cause);
  }
  throw new Error(`Cannot write ${quote(name)}: a browser whose file handles can be written to is required`);
}

/** Bytes that are written under another name first. */
const TEMPORARY = ".tmp";

/**
 * A folder handle as a {@linkcode FolderStore}. Files that are written take the place of old ones when they are whole.
 *
 * @example
 * ```ts ignore
 * const store = handleStore(await navigator.storage.getDirectory());
 * await peftModel.savePretrained(store.folder("adapters/pirate"));
 * ```
 * @param name what messages call it; default its own name
 */
export function handleStore(handle: WritableDirectoryHandle, name: string = handle.name): FolderStore {
  return storeAt(handle, name || "browser storage", []);
}

function storeAt(root: WritableDirectoryHandle, name: string, place: readonly string[]): FolderStore {
  const parts = (path: string) => checkRelativePath(path, `use a file of ${quote(name)}`).split("/");
  const folderOf = async (path: readonly string[], create: boolean) => {
    let folder = root;
    for (const part of [...place, ...path]) folder = await folder.getDirectoryHandle(part, { create });
    return folder;
  };
  const ownFolder = async () => {
    try {
      return await folderOf([], false);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw cannot("open", name, error);
    }
  };
  const namesOf = async (kind: string) => {
    const names: string[] = [];
    for await (const [entry, { kind: found }] of (await ownFolder())?.entries() ?? []) {
      if (found === kind && !entry.endsWith(TEMPORARY)) names.push(entry);
    }
    return names.sort();
  };
  return {
    name,
    async open(path) {
      const names = parts(path);
      try {
        const folder = await folderOf(names.slice(0, -1), false);
        const file = await (await folder.getFileHandle(names.at(-1)!)).getFile();
        return blobSource(file, `${name}/${path}`);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw cannot("open", `${name}/${path}`, error);
      }
    },
    list: () => namesOf("file"),
    folders: () => namesOf("directory"),
    folder: (path) => storeAt(root, `${name}/${path}`, [...place, ...parts(path)]),
    async write(path, chunks) {
      const names = parts(path);
      const [file, full] = [names.at(-1)!, `${name}/${path}`];
      let folder: WritableDirectoryHandle | undefined;
      try {
        folder = await folderOf(names.slice(0, -1), true);
        const handle = await folder.getFileHandle(file + TEMPORARY, { create: true });
        const updated = await updateFile(handle, full);
        try {
          await updated.truncate(0);
          let at = 0;
          for await (const piece of piecesOfChunks(chunks)) {
            await updated.write(piece, at);
            at += piece.length;
          }
        } finally {
          await updated.close();
        }
        if (handle.move) await handle.move(file);
        else await copyFile(handle, await folder.getFileHandle(file, { create: true }), full);
      } catch (error) {
        throw isNamed(error) ? error : cannot("write", full, error);
      } finally {
        await folder?.removeEntry(file + TEMPORARY).catch(() => {}); // none after a move
      }
    },
    async update(path) {
      const names = parts(path);
      const full = `${name}/${path}`;
      try {
        const folder = await folderOf(names.slice(0, -1), true);
        return await updateFile(await folder.getFileHandle(names.at(-1)!, { create: true }), full);
      } catch (error) {
        throw isNamed(error) ? error : cannot("open", full, error);
      }
    },
    async remove(path) {
      const names = parts(path);
      try {
        const folder = await folderOf(names.slice(0, -1), false);
        await folder.removeEntry(names.at(-1)!, { recursive: true });
      } catch (error) {
        if (!isMissing(error)) throw cannot("remove", `${name}/${path}`, error);
      }
    },
  };
}

/** Whether an error says already what failed. */
function isNamed(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("Cannot ");
}

/** Where files cannot be renamed: a crash in the middle leaves a part. */
async function copyFile(from: WritableFileHandle, to: WritableFileHandle, name: string): Promise<void> {
  const file = await from.getFile();
  const updated = await updateFile(to, name);
  try {
    await updated.truncate(0);
    const reader = file.stream().getReader();
    for (let at = 0;;) {
      const { done, value } = await reader.read();
      if (done) break;
      await updated.write(value, at);
      at += value.length;
    }
  } finally {
    await updated.close();
  }
}
