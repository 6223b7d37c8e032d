/**
 * Where a folder of files is written: on disk, crash-safe file by file, or in memory.
 *
 * @module
 */
import { host } from "./_node.ts";
import { type Chunks, writeFileAtomic } from "./atomic_file.ts";
import type { FileSource, MemoryFolder } from "./file_source.ts";
import { collectChunks, type FolderStore, isFolderStore } from "./folder_store.ts";
import { joinPath, makeDirectory, openInFolder } from "./files.ts";
import { readAll } from "./open_file.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/**
 * Anything that `savePretrained` writes to: a path, a folder that `memoryFolder()` made, or a store.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type FolderOutput, memoryFolder } from "@peft/webgpu";
 * import { memoryStore } from "@peft/webgpu/io";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const places: FolderOutput[] = ["out/tokenizer", memoryFolder(), memoryStore().folder("tokenizer")];
 * for (const place of places) await tokenizer.savePretrained(place);
 * ```
 */
export type FolderOutput = string | MemoryFolder | FolderStore;

/** A folder open for writing. */
export interface FolderTarget {
  /** What error messages call it. */
  readonly name: string;
  /** Writes a file, whole or not at all. `path` is relative, with "/". @throws {Error} naming the file and the reason */
  write(path: string, chunks: Chunks): Promise<void>;
  /** The text of a file of the folder; undefined where it has none. */
  readText(path: string): Promise<string | undefined>;
  /** Removes a file; one that is not there is no error. */
  remove(path: string): Promise<void>;
  /** A folder in it. */
  folder(path: string): FolderTarget;
}

async function textOf(source: FileSource | undefined): Promise<string | undefined> {
  return source && new TextDecoder().decode(await readAll(source));
}

function memoryTarget(memory: MemoryFolder, prefix: string): FolderTarget {
  const name = prefix === "" ? memory.name : `${memory.name}/${prefix.slice(0, -1)}`;
  const full = (path: string) => prefix + checkRelativePath(path, `write to ${quote(name)}`);
  return {
    name,
    async write(path, chunks) {
      const place = full(path);
      memory.files.set(place, await collectChunks(chunks));
    },
    readText: async (path) => await textOf(await memory.open(full(path))),
    remove: (path) => Promise.resolve(void memory.files.delete(full(path))),
    folder: (path) => memoryTarget(memory, `${full(path)}/`),
  };
}

function diskTarget(folder: string): FolderTarget {
  return {
    name: folder,
    async write(path, chunks) {
      checkRelativePath(path, `write to ${quote(folder)}`);
      await makeDirectory(folder);
      await writeFileAtomic(await joinPath(folder, path), chunks);
    },
    readText: async (path) => await textOf(await openInFolder(folder, path)),
    async remove(path) {
      const { fs } = await host();
      await fs.rm(await joinPath(folder, checkRelativePath(path, `remove from ${quote(folder)}`)), {
        force: true,
      });
    },
    folder: (path) =>
      diskTarget(`${folder.replace(/[/\\]+$/, "")}/${checkRelativePath(path, "write a folder")}`),
  };
}

function storeTarget(store: FolderStore): FolderTarget {
  return {
    name: store.name,
    write: (path, chunks) => store.write(path, chunks),
    readText: async (path) => await textOf(await store.open(path)),
    remove: (path) => store.remove(path),
    folder: (path) => storeTarget(store.folder(path)),
  };
}

/**
 * Opens a folder for writing; nothing is made until the first file.
 *
 * @param action what needs it, such as `save the model`, for the message.
 * @throws {TypeError} for an empty path, and for what is neither a path nor a folder in memory
 */
export function openTarget(output: FolderOutput, action: string): FolderTarget {
  if (typeof output === "string" && output.trim() !== "") return diskTarget(output);
  if (isFolderStore(output)) return storeTarget(output);
  if (typeof output === "object" && output !== null && output.files instanceof Map) {
    return memoryTarget(output, "");
  }
  throw new TypeError(
    `Cannot ${action}: the path of a folder or a memoryFolder() is required, received ${
      typeof output === "string" ? quote(output) : String(output)
    }`,
  );
}

/** Writes a value as JSON with two spaces and a final newline, as Hugging Face's writers do. */
export async function writeJsonTo(target: FolderTarget, path: string, value: unknown): Promise<void> {
  await target.write(path, `${JSON.stringify(value, null, 2)}\n`);
}
