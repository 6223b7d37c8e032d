/**
 * One file from the hub into the cache: streamed to disk, resumed after a broken connection or a killed process, and
 * put in place only when size and content hash are what the hub announced.
 *
 * @module
 */
import type { FileHandle } from "node:fs/promises";
import { host } from "./_node.ts";
import { syncDirectory } from "./atomic_file.ts";
import { makeDirectory } from "./files.ts";
import type { UpdatedFile } from "./folder_store.ts";
import { HubError } from "./hub_errors.ts";
import type { HubConnection } from "./hub_fetch.ts";
import { downloadFile, type HubProgress, isIntact, type RemoteFile } from "./hub_transfer.ts";

/** An unfinished file that was not written to for so long belongs to nobody and may be continued. */
const ABANDONED_AFTER_MS = 5_000;

export type { HubProgress, RemoteFile };

/** An open file on disk. */
class DiskFile implements UpdatedFile {
  readonly #handle: FileHandle;
  size: number;

  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.size = size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const { bytesRead } = await this.#handle.read(bytes, 0, length, offset);
    return bytes.subarray(0, bytesRead);
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, offset + done);
      done += bytesWritten;
    }
    this.size = Math.max(this.size, offset + bytes.length);
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size);
    this.size = size;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** True when the file on disk has the announced size and content. */
async function isIntactOnDisk(path: string, file: RemoteFile): Promise<boolean> {
  const { fs } = await host();
  const handle = await fs.open(path, "r").catch(() => undefined);
  if (!handle) return false;
  try {
    return await isIntact(new DiskFile(handle, (await handle.stat()).size), file);
  } finally {
    await handle.close();
  }
}

/**
 * True when the cache has the file: of the announced size, or, with `verify`, of the announced content. A blob that is
 * something else is removed.
 */
export async function hasBlob(blob: string, file: RemoteFile, verify: boolean): Promise<boolean> {
  const { fs } = await host();
  const stat = await fs.stat(blob).catch(() => undefined);
  if (!stat) return false;
  if (stat.isFile() && stat.size === file.size && (!verify || await isIntactOnDisk(blob, file))) return true;
  await fs.rm(blob, { force: true });
  return false;
}

/** A file of our own to download into, continuing an abandoned one where there is one. */
async function claim(blob: string): Promise<string> {
  const { fs, path, crypto } = await host();
  const folder = path.dirname(blob);
  const own = `${blob}.${crypto.randomBytes(4).toString("hex")}.incomplete`;
  for (const name of await fs.readdir(folder)) {
    if (!name.startsWith(`${path.basename(blob)}.`) || !name.endsWith(".incomplete")) continue;
    const abandoned = path.join(folder, name);
    try {
      if (Date.now() - (await fs.stat(abandoned)).mtimeMs < ABANDONED_AFTER_MS) continue;
      await fs.rename(abandoned, own);
      return own;
    } catch {
      // another process was faster
    }
  }
  return own;
}

/**
 * Downloads a file to its blob path, verified. An unfinished file is kept when the connection fails, so that the next
 * call continues it; it is removed when its content is wrong.
 *
 * @throws {HubError} by failure; an Error when the disk cannot be written.
 */
export async function downloadBlob(
  connection: HubConnection,
  url: string,
  file: RemoteFile,
  blob: string,
  onProgress?: (progress: HubProgress) => void,
): Promise<void> {
  const { fs, path } = await host();
  await makeDirectory(path.dirname(blob));
  const incomplete = await claim(blob);
  try {
    const handle = await fs.open(incomplete, "a+").then(async (created) => {
      await created.close();
      return await fs.open(incomplete, "r+");
    });
    try {
      const target = new DiskFile(handle, (await handle.stat()).size);
      await downloadFile(connection, url, file, target, onProgress);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.rename(incomplete, blob);
    await syncDirectory(path.dirname(blob));
  } catch (error) {
    const size = await fs.stat(incomplete).then((stat) => stat.size, () => 0);
    const keep = size > 0 && error instanceof HubError && error.failure !== "bad-answer";
    if (!keep) await fs.rm(incomplete, { force: true }).catch(() => {});
    throw error;
  }
}
