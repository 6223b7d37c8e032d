/**
 * One file from the hub into the cache: streamed to disk, resumed after a broken connection or a killed process, and
 * put in place only when size and content hash are what the hub announced.
 *
 * @module
 */
import type { FileHandle } from "node:fs/promises";
import type { Hash } from "node:crypto";
import { host } from "./_node.ts";
import { syncDirectory } from "./atomic_file.ts";
import { makeDirectory } from "./files.ts";
import { HubError } from "./hub_errors.ts";
import { bodyOf, type HubConnection, isTransient, request, statusError, waitToRetry } from "./hub_fetch.ts";
import { quote } from "./relative_path.ts";

/** A download is given up after this many tries without a new byte. */
const MAX_IDLE_TRIES = 5;
/** An unfinished file that was not written to for so long belongs to nobody and may be continued. */
const ABANDONED_AFTER_MS = 5_000;

/** A file of a model as the hub announces it. */
export interface RemoteFile {
  /** Path in the repository. */
  path: string;
  /** Size in bytes. */
  size: number;
  /** SHA-256 (64 hex digits, large files) or Git blob SHA-1 (40 hex digits) of the content: also the blob's name. */
  etag: string;
}

/** Reports a download: bytes of one file so far. */
export interface HubProgress {
  /** Path in the repository. */
  file: string;
  /** Bytes that are on disk. */
  loadedBytes: number;
  /** Bytes of the whole file. */
  totalBytes: number;
}

/** What a file's content hash starts from. */
async function newHash(file: RemoteFile): Promise<Hash> {
  const { crypto } = await host();
  if (file.etag.length === 64) return crypto.createHash("sha256");
  return crypto.createHash("sha1").update(`blob ${file.size}\0`); // how Git hashes a file
}

/** The hash of what an unfinished file holds already. */
async function hashPrefix(file: RemoteFile, handle: FileHandle, length: number): Promise<Hash> {
  const hash = await newHash(file);
  const piece = new Uint8Array(1 << 20);
  for (let at = 0; at < length;) {
    const { bytesRead } = await handle.read(piece, 0, Math.min(piece.length, length - at), at);
    if (bytesRead === 0) break;
    hash.update(piece.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash;
}

/** True when the file on disk has the announced size and content. */
async function isIntact(path: string, file: RemoteFile): Promise<boolean> {
  const { fs } = await host();
  const handle = await fs.open(path, "r").catch(() => undefined);
  if (!handle) return false;
  try {
    if ((await handle.stat()).size !== file.size) return false;
    return (await hashPrefix(file, handle, file.size)).digest("hex") === file.etag;
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
  if (stat.isFile() && stat.size === file.size && (!verify || await isIntact(blob, file))) return true;
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

/** What ended a try early; empty when the body ended by itself. */
interface Try {
  error?: HubError;
  retryAfter?: string | null;
}

class Download {
  #connection: HubConnection;
  #url: string;
  #file: RemoteFile;
  #handle: FileHandle;
  #onProgress?: (progress: HubProgress) => void;
  #at = 0;
  /** The furthest byte that any try reached: only a byte beyond it is progress, or restarts would go on for ever. */
  #reached = 0;
  #hash!: Hash;

  constructor(
    connection: HubConnection,
    url: string,
    file: RemoteFile,
    handle: FileHandle,
    onProgress?: (progress: HubProgress) => void,
  ) {
    this.#connection = connection;
    this.#url = url;
    this.#file = file;
    this.#handle = handle;
    this.#onProgress = onProgress;
  }

  /** Fetches what is missing; true when the content is as announced, false when the whole of it is not. */
  async run(): Promise<boolean> {
    const { size } = this.#file;
    const present = (await this.#handle.stat()).size;
    this.#at = present <= size ? present : 0;
    if (this.#at !== present) await this.#handle.truncate(0);
    this.#hash = await hashPrefix(this.#file, this.#handle, this.#at);
    this.#reached = this.#at;
    let idle = 0;
    while (this.#at < size) {
      const { error, retryAfter } = await this.#attempt();
      const progress = this.#at > this.#reached;
      this.#reached = Math.max(this.#reached, this.#at);
      if (this.#at >= size) break;
      if (error && error.failure !== "offline" && !isTransient(error.status ?? 0)) throw error;
      idle = progress ? 0 : idle + 1;
      if (idle >= MAX_IDLE_TRIES) {
        throw error ??
          new HubError(
            "bad-answer",
            `Cannot download ${quote(this.#file.path)}: ${size} bytes were announced, received ${this.#at}`,
          );
      }
      await waitToRetry(this.#connection, idle, retryAfter);
    }
    return this.#hash.digest("hex") === this.#file.etag;
  }

  async #restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#at = 0;
    this.#hash = await newHash(this.#file);
  }

  async #attempt(): Promise<Try> {
    const from = this.#at;
    const { size, path } = this.#file;
    const abort = new AbortController();
    try {
      const response = await request(this.#connection, this.#url, {
        signal: abort.signal,
        // identity: a compressed body would hide its size
        headers: { "Accept-Encoding": "identity", ...(from > 0 ? { Range: `bytes=${from}-` } : {}) },
      });
      if (response.status !== 200 && response.status !== 206) {
        await response.body?.cancel();
        if (response.status === 416 && from > 0) {
          this.#checkTotal(response.headers.get("Content-Range"));
          await this.#restart();
          return {};
        }
        const error = statusError(
          response.status,
          `${quote(path)} from ${this.#connection.hubUrl}`,
          this.#connection.hubUrl,
        );
        return { error, retryAfter: response.headers.get("Retry-After") };
      }
      if (response.status === 200 && from > 0) await this.#restart();
      if (response.status === 206 && !this.#continues(response.headers.get("Content-Range"))) {
        await response.body?.cancel();
        await this.#restart();
        return {};
      }
      for await (const piece of bodyOf(response, this.#connection.timeouts.stallMs)) {
        if (this.#at + piece.length > size) {
          abort.abort();
          throw new HubError(
            "bad-answer",
            `Cannot download ${quote(path)}: ${size} bytes were announced, received more`,
          );
        }
        await this.#write(piece);
      }
      return {};
    } catch (error) {
      if (!(error instanceof HubError)) throw error;
      return { error };
    }
  }

  /**
   * Refuses a file whose server says that it has another size than the hub announced (`bytes *\/300000` beside 416).
   *
   * @throws {HubError} "bad-answer"
   */
  #checkTotal(range: string | null): void {
    const total = /^bytes \*\/(\d+)$/.exec(range ?? "")?.[1];
    if (total === undefined || Number(total) === this.#file.size) return;
    throw new HubError(
      "bad-answer",
      `Cannot download ${quote(this.#file.path)}: ${this.#file.size} bytes were announced, received ${total}`,
    );
  }

  /** True when a Content-Range starts where the file on disk ends. */
  #continues(range: string | null): boolean {
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range ?? "") ?? [];
    return Number(start) === this.#at && (total === "*" || Number(total) === this.#file.size);
  }

  async #write(piece: Uint8Array): Promise<void> {
    for (let done = 0; done < piece.length;) {
      const { bytesWritten } = await this.#handle.write(piece, done, piece.length - done, this.#at + done);
      done += bytesWritten;
    }
    this.#hash.update(piece);
    this.#at += piece.length;
    this.#onProgress?.({ file: this.#file.path, loadedBytes: this.#at, totalBytes: this.#file.size });
  }
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
    // A continued file may hold wrong bytes: then one more try from the first byte.
    for (let round = 0;; round++) {
      const handle = await fs.open(incomplete, "a+").then(async (created) => {
        await created.close();
        return await fs.open(incomplete, "r+");
      });
      try {
        const resumed = (await handle.stat()).size > 0;
        const intact = await new Download(connection, url, file, handle, onProgress).run();
        if (intact) {
          await handle.sync();
          break;
        }
        await handle.truncate(0);
        if (!resumed || round > 0) {
          throw new HubError(
            "bad-answer",
            `Cannot download ${
              quote(file.path)
            }: content with hash ${file.etag} is required, received other bytes`,
          );
        }
      } finally {
        await handle.close();
      }
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
