/**
 * A browser's private file system in memory, with the rules that matter: handles, locks of sync access, a quota.
 * @module
 */
import type { SyncAccess, WritableDirectoryHandle, WritableFileHandle } from "../../io/handle_store.ts";

interface Entry {
  readonly kind: "file" | "directory";
}

const missing = (name: string) => new DOMException(`no entry "${name}"`, "NotFoundError");
const mismatch = (name: string) => new DOMException(`"${name}" is of the other kind`, "TypeMismatchError");

/** Bytes that all files of a file system may have together. */
export interface Quota {
  limit: number;
  used: number;
}

class FakeFile implements WritableFileHandle {
  readonly kind = "file";
  bytes = new Uint8Array();
  name: string;
  #isOpen = false;
  readonly #folder: FakeDirectory;

  constructor(folder: FakeDirectory, name: string) {
    this.#folder = folder;
    this.name = name;
  }

  getFile(): Promise<File> {
    return Promise.resolve(new File([this.bytes.slice()], this.name));
  }

  createSyncAccessHandle(): Promise<SyncAccess> {
    if (this.#isOpen) {
      return Promise.reject(new DOMException("it is locked", "NoModificationAllowedError"));
    }
    this.#isOpen = true;
    const resize = (size: number) => {
      const { quota } = this.#folder;
      if (quota.used + size - this.bytes.length > quota.limit) {
        throw new DOMException("quota", "QuotaExceededError");
      }
      quota.used += size - this.bytes.length;
      const bytes = new Uint8Array(size);
      bytes.set(this.bytes.subarray(0, size));
      this.bytes = bytes;
    };
    return Promise.resolve({
      getSize: () => this.bytes.length,
      read: (buffer, { at }) => {
        const part = this.bytes.subarray(at, at + buffer.length);
        buffer.set(part);
        return part.length;
      },
      write: (buffer, { at }) => {
        if (at + buffer.length > this.bytes.length) resize(at + buffer.length);
        this.bytes.set(buffer, at);
        return buffer.length;
      },
      truncate: resize,
      flush: () => {},
      close: () => void (this.#isOpen = false),
    });
  }

  move(name: string): Promise<void> {
    const { entryMap } = this.#folder;
    const old = entryMap.get(name);
    if (old instanceof FakeFile) this.#folder.quota.used -= old.bytes.length;
    entryMap.delete(this.name);
    this.name = name;
    entryMap.set(name, this);
    return Promise.resolve();
  }
}

/** A folder of it. */
export class FakeDirectory implements WritableDirectoryHandle {
  readonly kind = "directory";
  readonly name: string;
  readonly quota: Quota;
  readonly entryMap = new Map<string, FakeFile | FakeDirectory>();

  constructor(name = "", quota: Quota = { limit: Infinity, used: 0 }) {
    this.name = name;
    this.quota = quota;
  }

  getDirectoryHandle(name: string, { create = false } = {}): Promise<FakeDirectory> {
    const found = this.entryMap.get(name) ?? (create ? new FakeDirectory(name, this.quota) : undefined);
    if (!(found instanceof FakeDirectory)) return Promise.reject(found ? mismatch(name) : missing(name));
    this.entryMap.set(name, found);
    return Promise.resolve(found);
  }

  getFileHandle(name: string, { create = false } = {}): Promise<FakeFile> {
    const found = this.entryMap.get(name) ?? (create ? new FakeFile(this, name) : undefined);
    if (!(found instanceof FakeFile)) return Promise.reject(found ? mismatch(name) : missing(name));
    this.entryMap.set(name, found);
    return Promise.resolve(found);
  }

  async removeEntry(name: string, { recursive = false } = {}): Promise<void> {
    const found = this.entryMap.get(name);
    if (!found) throw missing(name);
    if (found instanceof FakeFile) this.quota.used -= found.bytes.length;
    else {
      if (found.entryMap.size > 0 && !recursive) {
        throw new DOMException("it is not empty", "InvalidModificationError");
      }
      for (const inner of [...found.entryMap.keys()]) await found.removeEntry(inner, { recursive });
    }
    this.entryMap.delete(name);
  }

  async *entries(): AsyncIterableIterator<[string, Entry]> {
    for (const entry of [...this.entryMap]) yield entry;
  }

  /** All of it as it is now, such as after a crash. */
  copy(quota: Quota = { ...this.quota }): FakeDirectory {
    const made = new FakeDirectory(this.name, quota);
    for (const [name, entry] of this.entryMap) {
      if (entry instanceof FakeDirectory) made.entryMap.set(name, entry.copy(quota));
      else {
        const file = new FakeFile(made, name);
        file.bytes = entry.bytes.slice();
        made.entryMap.set(name, file);
      }
    }
    return made;
  }

  /** The bytes of a file, by its path. */
  bytesOf(path: string): Uint8Array {
    const [first, ...rest] = path.split("/");
    const found = this.entryMap.get(first);
    if (found instanceof FakeDirectory) return found.bytesOf(rest.join("/"));
    if (found && rest.length === 0) return found.bytes;
    throw missing(path);
  }
}
