/**
 * The bytes of one file from the hub: resumed after a broken connection, and checked by size and content hash.
 *
 * @module
 */
import type { UpdatedFile } from "./folder_store.ts";
import { type Hasher, newHasher } from "./hashing.ts";
import { HubError } from "./hub_errors.ts";
import { bodyOf, type HubConnection, isTransient, request, statusError, waitToRetry } from "./hub_fetch.ts";
import { quote } from "./relative_path.ts";

/** A download is given up after this many tries without a new byte. */
const MAX_IDLE_TRIES = 5;
/** Bytes that are hashed at a time of what is there already. */
const HASHED_BYTES = 1 << 20;

/** A file of a model as the hub announces it. */
export interface RemoteFile {
  /** Path in the repository. */
  path: string;
  /** Size in bytes. */
  size: number;
  /** SHA-256 (64 hex digits, large files) or Git blob SHA-1 (40 hex digits) of the content: also the blob's name. */
  etag: string;
}

/**
 * Reports a download: bytes of one file so far.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type HubProgress } from "@peft/webgpu";
 *
 * const onProgress = ({ file, loadedBytes, totalBytes }: HubProgress) =>
 *   console.log(`${file}: ${Math.round(100 * loadedBytes / totalBytes)}%`);
 * const tokenizer = await AutoTokenizer.fromPretrained("gpt2", { onProgress }); // silent once it is in the cache
 * console.log(tokenizer.encode("Ahoy").length);
 * ```
 */
export interface HubProgress {
  /** Path in the repository. */
  file: string;
  /** Bytes that are on disk. */
  loadedBytes: number;
  /** Bytes of the whole file. */
  totalBytes: number;
}

/** What a file's content hash starts from. */
async function newHash(file: RemoteFile): Promise<Hasher> {
  if (file.etag.length === 64) return await newHasher("sha256");
  return (await newHasher("sha1")).update(new TextEncoder().encode(`blob ${file.size}\0`)); // how Git hashes a file
}

/** The hash of what an unfinished file holds already. */
async function hashPrefix(file: RemoteFile, target: UpdatedFile, length: number): Promise<Hasher> {
  const hash = await newHash(file);
  for (let at = 0; at < length;) {
    const piece = await target.read(at, Math.min(HASHED_BYTES, length - at));
    if (piece.length === 0) break;
    hash.update(piece);
    at += piece.length;
  }
  return hash;
}

/** Whether a file has the announced size and content. */
export async function isIntact(target: UpdatedFile, file: RemoteFile): Promise<boolean> {
  if (target.size !== file.size) return false;
  return (await hashPrefix(file, target, file.size)).digest() === file.etag;
}

/** What ended a try early; empty when the body ended by itself. */
interface Try {
  error?: HubError;
  retryAfter?: string | null;
}

/** A download of one file. */
class Download {
  #connection: HubConnection;
  #url: string;
  #file: RemoteFile;
  #target: UpdatedFile;
  #signal?: AbortSignal;
  #onProgress?: (progress: HubProgress) => void;
  #at = 0;
  /** The furthest byte that any try reached: only a byte beyond it is progress, or restarts would go on for ever. */
  #reached = 0;
  #hash!: Hasher;

  /**
   * Asks nothing yet.
   *
   * @param target what is there of the file, and takes the rest.
   * @param signal ends it; what arrived stays.
   */
  constructor(
    connection: HubConnection,
    url: string,
    file: RemoteFile,
    target: UpdatedFile,
    onProgress?: (progress: HubProgress) => void,
    signal?: AbortSignal,
  ) {
    this.#connection = connection;
    this.#url = url;
    this.#file = file;
    this.#target = target;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  /** Fetches what is missing; true when the content is as announced, false when the whole of it is not. */
  async run(): Promise<boolean> {
    const { size } = this.#file;
    const present = this.#target.size;
    this.#at = present <= size ? present : 0;
    if (this.#at !== present) await this.#target.truncate(0);
    this.#hash = await hashPrefix(this.#file, this.#target, this.#at);
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
    return this.#hash.digest() === this.#file.etag;
  }

  async #restart(): Promise<void> {
    await this.#target.truncate(0);
    this.#at = 0;
    this.#hash = await newHash(this.#file);
  }

  async #attempt(): Promise<Try> {
    const from = this.#at;
    const { size, path } = this.#file;
    const abort = new AbortController();
    try {
      const response = await request(this.#connection, this.#url, {
        signal: this.#signal ? AbortSignal.any([abort.signal, this.#signal]) : abort.signal,
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
        if (this.#signal?.aborted) throw this.#signal.reason;
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
      if (this.#signal?.aborted) throw this.#signal.reason;
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

  /** True when a Content-Range starts where the file ends; pages of other origins may not be shown it: the hash tells. */
  #continues(range: string | null): boolean {
    if (range === null) return true;
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range ?? "") ?? [];
    return Number(start) === this.#at && (total === "*" || Number(total) === this.#file.size);
  }

  async #write(piece: Uint8Array): Promise<void> {
    await this.#target.write(piece, this.#at);
    this.#hash.update(piece);
    this.#at += piece.length;
    this.#onProgress?.({ file: this.#file.path, loadedBytes: this.#at, totalBytes: this.#file.size });
  }
}

/**
 * Fetches what `target` lacks of a file, and checks the whole of it. Bytes that were there already may be wrong: then the
 * file is fetched once more, from its first byte.
 *
 * @param target what is there of the file, and takes the rest; empty after content that is wrong.
 * @param signal ends it by throwing its reason; what arrived stays.
 * @throws {HubError} when the hub does not give the file, or gives other bytes than it announced.
 */
export async function downloadFile(
  connection: HubConnection,
  url: string,
  file: RemoteFile,
  target: UpdatedFile,
  onProgress?: (progress: HubProgress) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (;;) {
    const isContinued = target.size > 0;
    if (await new Download(connection, url, file, target, onProgress, signal).run()) return;
    await target.truncate(0);
    if (isContinued) continue;
    throw new HubError(
      "bad-answer",
      `Cannot download ${quote(file.path)}: content with hash ${file.etag} is required, received other bytes`,
    );
  }
}
