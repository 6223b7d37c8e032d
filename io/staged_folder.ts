/**
 * Crash-safe folders: everything is written to a temporary sibling, hashed and synced, and appears under its name in one
 * rename. A reader trusts a folder only if its `manifest.json` agrees with every file.
 *
 * @module
 */
import { host, reasonOf } from "./_node.ts";
import { syncDirectory } from "./atomic_file.ts";
import { readJsonObject, writeJson } from "./json.ts";
import { isSafeRelativePath, quote } from "./relative_path.ts";

/** A temporary folder this old belongs to a writer that was killed. */
const STALE_AFTER_MS = 3_600_000;
const TEMPORARY = /^\.tmp-[0-9a-f-]{36}$/;
const MANIFEST = "manifest.json";
const CHUNK_BYTES = 4 * 2 ** 20;

/** What a manifest says of a file. */
interface FileRecord {
  size: number;
  sha256: string;
}

/** Size and hash of a file, read in pieces; with `sync`, its contents are durable afterwards. */
async function recordOf(path: string, sync: boolean): Promise<FileRecord> {
  const { fs, crypto } = await host();
  const handle = await fs.open(path, sync ? "r+" : "r");
  try {
    const hash = crypto.createHash("sha256");
    const chunk = new Uint8Array(CHUNK_BYTES);
    let size = 0;
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, size);
      if (bytesRead === 0) break;
      hash.update(chunk.subarray(0, bytesRead));
      size += bytesRead;
    }
    if (sync) await handle.sync();
    return { size, sha256: hash.digest("hex") };
  } finally {
    await handle.close();
  }
}

/** Hashes and syncs every file below `folder`, then the folders; paths have slashes. */
async function syncTree(folder: string, prefix = ""): Promise<Record<string, FileRecord>> {
  const { fs, path } = await host();
  const files: Record<string, FileRecord> = {};
  for (
    const entry of (await fs.readdir(folder, { withFileTypes: true })).sort((a, b) =>
      a.name < b.name ? -1 : 1
    )
  ) {
    const full = path.join(folder, entry.name);
    const name = `${prefix}${entry.name}`;
    if (entry.isDirectory()) Object.assign(files, await syncTree(full, `${name}/`));
    else if (entry.isFile()) files[name] = await recordOf(full, true);
    else {throw new Error(
        `Cannot keep ${quote(full)}: a file or folder is required, received a link or device`,
      );}
  }
  await syncDirectory(folder);
  return files;
}

/** Removes a folder with all it holds; one that is not there is no error. */
export async function removeFolder(path: string): Promise<void> {
  const { fs } = await host();
  await fs.rm(path, { recursive: true, force: true });
}

/** Paths of the files that a folder's manifest lists, and its own; none where there is no manifest to be read. */
async function ownFiles(folder: string): Promise<Set<string>> {
  const { path: paths } = await host();
  const manifest = await readJsonObject(paths.join(folder, MANIFEST)).catch(() => null);
  const files = manifest?.files;
  if (typeof files !== "object" || files === null) return new Set();
  return new Set([MANIFEST, ...Object.keys(files)]);
}

/** Files and links below `folder` that are not in `known`, with slashes. */
async function othersThan(known: ReadonlySet<string>, folder: string, prefix = ""): Promise<string[]> {
  const { fs, path: paths } = await host();
  const found: string[] = [];
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    const name = `${prefix}${entry.name}`;
    if (entry.isDirectory()) {
      found.push(...await othersThan(known, paths.join(folder, entry.name), `${name}/`));
    } else if (!known.has(name)) found.push(name);
  }
  return found;
}

/** Takes what somebody else put into the old folder over to the new one, but for files that the new one has itself. */
async function keepOthers(old: string, fresh: string, written: ReadonlySet<string>): Promise<void> {
  const { fs, path: paths } = await host();
  const there = await fs.stat(old).catch(() => undefined);
  if (!there?.isDirectory()) return;
  for (const name of await othersThan(await ownFiles(old), old)) {
    if (written.has(name)) continue;
    const [from, to] = [paths.join(old, name), paths.join(fresh, name)];
    await fs.mkdir(paths.dirname(to), { recursive: true });
    if ((await fs.lstat(from)).isSymbolicLink()) await fs.symlink(await fs.readlink(from), to);
    else {
      try {
        await fs.link(from, to); // the file itself under a second name: nothing of it can get lost
      } catch {
        await fs.copyFile(from, to); // a file system without hard links
        await recordOf(to, true);
      }
    }
    await syncDirectory(paths.dirname(to));
  }
}

/**
 * Removes the files of a folder that its manifest lists, and the folder if nothing else is in it. One without a manifest
 * is somebody else's and stays.
 * @returns whether the folder is gone
 */
export async function removeStagedFolder(folder: string): Promise<boolean> {
  const { fs, path: paths } = await host();
  const own = await ownFiles(folder);
  if (own.size === 0) return false;
  if ((await othersThan(own, folder)).length === 0) {
    await removeFolder(folder);
    return true;
  }
  for (const name of own) {
    if (isSafeRelativePath(name)) await fs.rm(paths.join(folder, name), { force: true });
  }
  return false;
}

async function removeStale(parent: string): Promise<void> {
  const { fs, path } = await host();
  for (const name of await fs.readdir(parent)) {
    if (!TEMPORARY.test(name)) continue;
    const stale = path.join(parent, name);
    const stat = await fs.lstat(stale).catch(() => undefined);
    if (stat && Date.now() - stat.mtimeMs > STALE_AFTER_MS) await removeFolder(stale).catch(() => {});
  }
}

/**
 * Writes a folder so that a crash at any moment leaves the old one, the new one or none under its name, never a part.
 * On failure nothing of the new folder remains. Of a folder of that name, the files that its manifest lists are replaced;
 * others stay.
 *
 * @param fill writes the files, given the temporary folder's path.
 * @param about fields that the manifest carries besides the files.
 * @throws {Error} `Cannot write folder "path": …` with the cause.
 */
export async function writeFolderAtomic(
  path: string,
  fill: (temporary: string) => Promise<void>,
  about: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const { fs, path: paths, crypto } = await host();
  const parent = paths.dirname(paths.resolve(path));
  const temporary = paths.join(parent, `.tmp-${crypto.randomUUID()}`);
  try {
    await fs.mkdir(parent, { recursive: true });
    await removeStale(parent);
    await fs.mkdir(temporary);
    await fill(temporary);
    const files = await syncTree(temporary);
    await keepOthers(path, temporary, new Set([MANIFEST, ...Object.keys(files)]));
    await writeJson(paths.join(temporary, MANIFEST), { ...about, files });
    await syncDirectory(temporary);
    const old = paths.join(parent, `.tmp-${crypto.randomUUID()}`);
    const replaces = await fs.rename(path, old).then(() => true, () => false);
    await fs.rename(temporary, path);
    await syncDirectory(parent);
    if (replaces) await removeFolder(old);
  } catch (cause) {
    await removeFolder(temporary).catch(() => {});
    throw new Error(`Cannot write folder ${quote(path)}: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Fails unless every file is as the manifest says.
 *
 * @returns the manifest's fields besides the files.
 * @throws {Error} `Cannot trust folder "path": …` naming the first file that is missing or differs.
 */
export async function verifyFolder(path: string): Promise<Record<string, unknown>> {
  const { path: paths } = await host();
  const refuse = (problem: string, cause?: unknown): never => {
    throw new Error(`Cannot trust folder ${quote(path)}: ${problem}`, { cause });
  };
  let manifest: { readonly [key: string]: unknown };
  try {
    manifest = await readJsonObject(paths.join(path, MANIFEST));
  } catch (cause) {
    return refuse(`a readable ${MANIFEST} is required; ${(cause as Error).message}`, cause);
  }
  const { files, ...about } = manifest;
  if (typeof files !== "object" || files === null) return refuse(`${MANIFEST} lists no files`);
  for (const [name, expected] of Object.entries(files as Record<string, FileRecord>)) {
    if (!isSafeRelativePath(name)) return refuse(`${MANIFEST} names ${quote(name)}`);
    const found = await recordOf(paths.join(path, name), false).catch((cause) =>
      refuse(`${quote(name)} is missing or unreadable`, cause)
    );
    if (found.size !== expected.size) {
      return refuse(`${quote(name)} must have ${expected.size} bytes, received ${found.size}`);
    }
    if (found.sha256 !== expected.sha256) {
      return refuse(`${quote(name)} has another SHA-256 than the manifest`);
    }
  }
  return about;
}
