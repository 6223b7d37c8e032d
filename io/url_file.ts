/**
 * One file behind a URL, read in ranges: a large file never lies whole in memory where its server answers ranges.
 *
 * @module
 */
import { blobSource, type Bytes, checkRange, type FileSource } from "./file_source.ts";
import { quote } from "./relative_path.ts";

/** Tries of one read whose connection breaks. */
const TRIES = 4;
/** First wait before another try, doubled each time. */
const WAIT_MS = 250;
/** Bytes of the first request, which also asks for the size, and of those for less: files are mostly read in order. */
const BLOCK_BYTES = 64 * 1024;

/** Options of {@linkcode urlFile}. */
export interface UrlFileOptions {
  /** Used instead of the global fetch. */
  fetch?: typeof fetch;
  /** Sent with every request. */
  headers?: Record<string, string>;
}

/** A broken connection, or a status that a later try may improve. */
class Interrupted extends Error {}

/** The start and the whole size of `bytes 0-99/1000`; NaN for what the server does not tell. */
function contentRange(response: Response): { start: number; total: number } {
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "") ??
    [];
  return { start: Number(start ?? NaN), total: total === "*" ? NaN : Number(total ?? NaN) };
}

/** The bytes of an answer, which must be as many as were asked for. */
async function bodyOf(response: Response, length: number, room?: Bytes): Promise<Bytes> {
  const bytes: Bytes = room && room.length >= length ? room.subarray(0, length) : new Uint8Array(length);
  let at = 0;
  const reader = response.body!.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > length) throw new Interrupted(`${length} bytes were asked for, received more`);
      bytes.set(value, at);
      at += value.length;
    }
  } catch (cause) {
    throw cause instanceof Interrupted ? cause : new Interrupted((cause as Error).message, { cause });
  } finally {
    reader.cancel().catch(() => {}); // the connection may be gone already
  }
  if (at < length) throw new Interrupted(`${length} bytes were asked for, received ${at}`);
  return bytes;
}

async function retried<T>(url: string, body: () => Promise<T>): Promise<T> {
  for (let attempt = 1;; attempt++) {
    try {
      return await body();
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      if (attempt === TRIES) {
        throw new Error(`Cannot read ${quote(url)}: ${error.message}, ${TRIES} times in turn`, {
          cause: error,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * 2 ** (attempt - 1)));
    }
  }
}

/**
 * Opens a file behind a URL. Each read asks for its range alone; a server that answers with the whole file instead is
 * read once, as a Blob, which browsers may keep on disk.
 *
 * @throws {Error} for a status other than 200 or 206; from `read`, where the connection breaks again and again, or the
 * file has changed since it was opened.
 */
export async function urlFile(address: string | URL, options: UrlFileOptions = {}): Promise<FileSource> {
  const url = String(address);
  const get = async (init: RequestInit): Promise<Response> => {
    let response: Response;
    try {
      response = await (options.fetch ?? fetch)(url, {
        ...init,
        headers: { ...options.headers, ...init.headers as Record<string, string> },
      });
    } catch (cause) {
      throw new Interrupted((cause as Error).message, { cause });
    }
    if (response.ok || response.status === 416) return response;
    await response.body?.cancel();
    const message = `status 200 or 206 is required, received ${response.status}`;
    if (response.status === 408 || response.status === 429 || response.status >= 500) {
      throw new Interrupted(message);
    }
    throw new Error(`Cannot fetch ${quote(url)}: ${message}`);
  };
  const ranged = (from: number, length: number) =>
    get({ headers: { Range: `bytes=${from}-${from + length - 1}` } });

  const first = await retried(url, async () => {
    const response = await ranged(0, BLOCK_BYTES);
    if (response.status === 200) return blobSource(await response.blob(), url);
    if (response.status === 206) {
      try {
        return { response, bytes: new Uint8Array(await response.arrayBuffer()) };
      } catch (cause) {
        throw new Interrupted((cause as Error).message, { cause });
      }
    }
    await response.body?.cancel();
    return blobSource(new Blob([]), url); // 416: an empty file has no range
  });
  if (!("bytes" in first)) return first;
  let { total: size } = contentRange(first.response);
  if (Number.isNaN(size)) { // a page of another origin may not be shown the range: the length of the whole says it
    const head = await retried(url, () => get({ method: "HEAD" }));
    await head.body?.cancel();
    size = Number(head.headers.get("Content-Length") ?? NaN);
  }
  if (!(Number.isSafeInteger(size) && size > 0)) {
    throw new Error(`Cannot fetch ${quote(url)}: a server that tells the file's size is required`);
  }
  const etag = first.response.headers.get("ETag");
  const changed = () => new Error(`Cannot read ${quote(url)}: the file has changed since it was opened`);
  const range = (offset: number, length: number, room?: Bytes) =>
    retried(url, async () => {
      const response = await ranged(offset, length);
      const { start, total } = contentRange(response);
      const same = response.status === 206 && (Number.isNaN(start) || start === offset) &&
        (Number.isNaN(total) || total === size) && response.headers.get("ETag") === etag;
      if (same) return await bodyOf(response, length, room);
      await response.body?.cancel();
      throw changed();
    });
  let block = { from: 0, bytes: first.bytes };
  return {
    name: url,
    size,
    async read(offset, length, room) {
      checkRange(url, size, offset, length);
      if (length > BLOCK_BYTES) return await range(offset, length, room);
      let { from, bytes } = block;
      if (offset < from || offset + length > from + bytes.length) {
        from = offset;
        bytes = await range(offset, Math.min(BLOCK_BYTES, size - offset));
        block = { from, bytes };
      }
      return bytes.slice(offset - from, offset - from + length);
    },
    close: () => Promise.resolve(),
  };
}
