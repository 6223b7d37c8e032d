/**
 * A folder on disk as a {@linkcode FolderStore}: for code that runs in a browser with another kind of store.
 *
 * @module
 */
import { host, isNotFound } from "./_node.ts";
import { isTemporary, writeFileAtomic } from "./atomic_file.ts";
import { joinPath, makeDirectory, openInFolder } from "./files.ts";
import type { FolderStore, UpdatedFile } from "./folder_store.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/** A file that is written in place. */
async function openForUpdate(path: string): Promise<UpdatedFile> {
  const { fs, path: paths } = await host();
  await makeDirectory(paths.dirname(path));
  const file = await fs.open(path, fs.constants.O_RDWR | fs.constants.O_CREAT);
  let { size } = await file.stat();
  return {
    get size() {
      return size;
    },
    async read(offset, length) {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
      return bytes.subarray(0, bytesRead);
    },
    async write(bytes, offset) {
      for (let at = 0; at < bytes.length;) {
        at += (await file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
      }
      size = Math.max(size, offset + bytes.length);
    },
    async truncate(length) {
      await file.truncate(length);
      size = length;
    },
    close: () => file.close(),
  };
}

/**
 * A {@linkcode FolderStore} that is a folder on disk. It is made when something is written to it; files are written whole
 * or not at all.
 *
 * @example
 * ```ts
 * import { diskStore } from "@peft/webgpu/io";
 *
 * const store = diskStore("out/notes");
 * await store.write("a/b.txt", "hello");
 * console.log(await store.folders(), await store.folder("a").list()); // ["a"] ["b.txt"]
 * ```
 */
export function diskStore(folder: string): FolderStore {
  const full = (path: string) => joinPath(folder, checkRelativePath(path, `use a file of ${quote(folder)}`));
  const entries = async (isWanted: (entry: { isFile(): boolean; isDirectory(): boolean }) => boolean) => {
    const { fs } = await host();
    const found = await fs.readdir(folder, { withFileTypes: true }).catch((error) => {
      if (isNotFound(error)) return [];
      throw error;
    });
    return found.filter((entry) => isWanted(entry) && !isTemporary(entry.name)).map(({ name }) => name)
      .sort();
  };
  return {
    name: folder,
    open: (path, options) => openInFolder(folder, path, options),
    list: () => entries((entry) => entry.isFile()),
    folders: () => entries((entry) => entry.isDirectory()),
    folder: (path) =>
      diskStore(`${folder.replace(/[/\\]+$/, "")}/${checkRelativePath(path, "use a folder")}`),
    async write(path, chunks) {
      const { path: paths } = await host();
      const place = await full(path);
      await makeDirectory(paths.dirname(place));
      await writeFileAtomic(place, chunks);
    },
    update: async (path) => await openForUpdate(await full(path)),
    async remove(path) {
      const { fs } = await host();
      await fs.rm(await full(path), { recursive: true, force: true });
    },
  };
}
