/**
 * Crash-safe writing: a reader sees the whole old file or the whole new one, also after a crash or a power cut.
 *
 * Steps: a sibling temporary file that did not exist before (O_EXCL, so no link is followed), every chunk, fsync,
 * rename over the target, fsync of the folder.
 *
 * @module
 */
import { errorCode, host, reasonOf } from "./_node.ts";
import { quote } from "./relative_path.ts";

/** A temporary file this old belongs to a writer that was killed. */
const STALE_AFTER_MS = 3_600_000;
const TEMPORARY_SUFFIX = /^\.[0-9a-f]{16}\.tmp$/;

/**
 * What {@linkcode writeFileAtomic} writes: one piece, or pieces in order (produced one at a time).
 *
 * @example
 * ```ts
 * import { type Chunks, memoryStore } from "@peft/webgpu/io";
 *
 * const lines = function* (losses: number[]) {
 *   for (const loss of losses) yield new TextEncoder().encode(`${loss}\n`);
 * };
 * const contents: Chunks = lines([3.1, 2.7, 2.6]);
 * await memoryStore().write("losses.txt", contents);
 * ```
 */
export type Chunks = Uint8Array | string | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Options of {@linkcode writeFileAtomic}. */
export interface WriteOptions {
  /** Permission bits of a new file, before the umask; default 0o666. A file that exists keeps its own. */
  mode?: number;
  /** Refuse, when a file of that name exists, instead of replacing it. */
  exclusive?: boolean;
}

/** Whether a name is that of a file that is being written, or was when its writer was killed. */
export const isTemporary = (name: string): boolean =>
  name.startsWith(".") && TEMPORARY_SUFFIX.test(name.slice(-21));

function pieces(chunks: Chunks): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof chunks === "string") return [new TextEncoder().encode(chunks)];
  return chunks instanceof Uint8Array ? [chunks] : chunks;
}

/**
 * Makes the entries of a folder durable. Windows and some network file systems cannot sync a folder; there it does
 * nothing.
 */
export async function syncDirectory(path: string): Promise<void> {
  const { fs } = await host();
  try {
    const handle = await fs.open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!["EISDIR", "EPERM", "EACCES", "EINVAL", "ENOTSUP", "EBADF"].includes(errorCode(error) ?? "")) {
      throw error;
    }
  }
}

/** Removes temporary files that killed writers of `path` left behind. */
async function removeStale(path: string): Promise<void> {
  const { fs, path: paths } = await host();
  const folder = paths.dirname(path);
  const prefix = `.${paths.basename(path)}`;
  try {
    for (const name of await fs.readdir(folder)) {
      if (!name.startsWith(prefix) || !TEMPORARY_SUFFIX.test(name.slice(prefix.length))) continue;
      const stale = paths.join(folder, name);
      if (Date.now() - (await fs.stat(stale)).mtimeMs > STALE_AFTER_MS) await fs.rm(stale, { force: true });
    }
  } catch {
    // best effort: another writer may have been faster, or the folder may not be readable
  }
}

/**
 * Writes a file so that a crash at any moment leaves the old file or the new one, never a mixture. On failure the
 * temporary file is removed and the old file is as it was. A symbolic link at `path` is replaced, not followed.
 *
 * @throws {Error} `Cannot write "path": …` with the system's reason (no space, no permission, …) as its cause.
 */
export async function writeFileAtomic(
  path: string,
  chunks: Chunks,
  options: WriteOptions = {},
): Promise<void> {
  const { fs, path: paths, crypto } = await host();
  const folder = paths.dirname(path);
  await removeStale(path);
  const temporary = paths.join(
    folder,
    `.${paths.basename(path)}.${crypto.randomBytes(8).toString("hex")}.tmp`,
  );
  let written = 0;
  let created = false;
  try {
    const old = await fs.lstat(path).catch(() => undefined);
    if (old?.isDirectory()) throw new Error("a file is required, received a folder");
    if (old && options.exclusive) throw new Error("a new file is required, received one that exists");
    const handle = await fs.open(temporary, "wx", options.mode ?? 0o666);
    created = true;
    try {
      if (old?.isFile()) await handle.chmod(old.mode & 0o777).catch(() => {}); // not ours to change
      for await (const chunk of pieces(chunks)) {
        for (let at = 0; at < chunk.length;) {
          const { bytesWritten } = await handle.write(chunk, at, chunk.length - at);
          at += bytesWritten;
          written += bytesWritten;
        }
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(temporary, path);
  } catch (cause) {
    if (created) await fs.rm(temporary, { force: true }).catch(() => {});
    throw new Error(`Cannot write ${quote(path)}: ${reasonOf(cause)} (after ${written} bytes)`, { cause });
  }
  await syncDirectory(folder);
}
