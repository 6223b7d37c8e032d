/**
 * Folders of a {@linkcode FolderStore} that are whole or not trusted: their `manifest.json`, with size and hash of every file,
 * is written last. What `staged_folder.ts` is to a file system, where folders can be renamed.
 *
 * @module
 */
import { chunksOf } from "./file_source.ts";
import { type FolderStore, piecesOfChunks } from "./folder_store.ts";
import { newHasher } from "./hashing.ts";
import { readJsonFrom } from "./json.ts";
import { isSafeRelativePath, quote } from "./relative_path.ts";

const MANIFEST = "manifest.json";
const CHUNK_BYTES = 4 * 2 ** 20;

/** What a manifest says of a file. */
interface FileRecord {
  readonly size: number;
  readonly sha256: string;
}

/** A store that notes size and hash of what is written to it. */
function recording(store: FolderStore, records: Record<string, FileRecord>, prefix = ""): FolderStore {
  return {
    name: store.name,
    open: (path, options) => store.open(path, options),
    list: () => store.list(),
    folders: () => store.folders(),
    folder: (path) => recording(store.folder(path), records, `${prefix}${path}/`),
    update: (path) => store.update(path),
    remove: (path) => store.remove(path),
    async write(path, chunks) {
      const hash = await newHasher("sha256");
      let size = 0;
      async function* noted() {
        for await (const piece of piecesOfChunks(chunks)) {
          hash.update(piece);
          size += piece.length;
          yield piece;
        }
      }
      await store.write(path, noted());
      records[`${prefix}${path}`] = { size, sha256: hash.digest() };
    },
  };
}

/**
 * Writes a folder of a store. A crash leaves it without a manifest, which nobody trusts; what was there under its name is
 * removed first.
 *
 * @param fill writes the files.
 * @param about fields that the manifest carries besides the files.
 * @throws {Error} `Cannot write folder "name": …` with the cause; nothing of the folder remains.
 */
export async function writeStoreFolder(
  store: FolderStore,
  name: string,
  fill: (folder: FolderStore) => Promise<void>,
  about: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const folder = store.folder(name);
  try {
    await folder.remove(MANIFEST);
    await store.remove(name);
    const files: Record<string, FileRecord> = {};
    await fill(recording(folder, files));
    await folder.write(MANIFEST, `${JSON.stringify({ ...about, files }, null, 2)}\n`);
  } catch (cause) {
    await store.remove(name).catch(() => {});
    throw new Error(`Cannot write folder ${quote(folder.name)}: ${(cause as Error).message}`, { cause });
  }
}

/** The fields of a folder's manifest besides the files; null where there is none that can be read. */
export async function readManifest(folder: FolderStore): Promise<Record<string, unknown> | null> {
  return await readJsonFrom(folder, MANIFEST).catch(() => null) ?? null;
}

/**
 * Fails unless every file of a store's folder is as the manifest says.
 *
 * @returns the manifest's fields besides the files.
 * @throws {Error} `Cannot trust folder "name": …` naming the first file that is missing or differs.
 */
export async function verifyStoreFolder(folder: FolderStore): Promise<Record<string, unknown>> {
  const refuse = (problem: string): never => {
    throw new Error(`Cannot trust folder ${quote(folder.name)}: ${problem}`);
  };
  const manifest = await readManifest(folder);
  if (!manifest) return refuse(`a readable ${MANIFEST} is required`);
  const { files, ...about } = manifest;
  if (typeof files !== "object" || files === null) return refuse(`${MANIFEST} lists no files`);
  for (const [path, expected] of Object.entries(files as Record<string, FileRecord>)) {
    if (!isSafeRelativePath(path)) return refuse(`${MANIFEST} names ${quote(path)}`);
    const source = await folder.open(path);
    if (!source) return refuse(`${quote(path)} is missing or unreadable`);
    if (source.size !== expected.size) {
      return refuse(`${quote(path)} must have ${expected.size} bytes, received ${source.size}`);
    }
    const hash = await newHasher("sha256");
    for await (const piece of chunksOf(source, 0, source.size, CHUNK_BYTES)) hash.update(piece);
    await source.close();
    if (hash.digest() !== expected.sha256) {
      return refuse(`${quote(path)} has another SHA-256 than the manifest`);
    }
  }
  return about;
}
