/**
 * Paths, bytes, Blobs and URLs as file and folder sources, so that a browser can hand over a model without a file system.
 *
 * @module
 */
import {
  blobSource,
  type Bytes,
  type FileInput,
  type FileSource,
  type FolderInput,
  type FolderSource,
  memorySource,
} from "./file_source.ts";
import { openFolderAt, openForRead } from "./files.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/**
 * Opens a path, bytes, a Blob or an already open source. Reads of memory return views, not copies.
 *
 * @param name what messages call bytes and Blobs.
 */
export function openFile(input: FileInput, name = "bytes in memory"): Promise<FileSource> {
  if (typeof input === "string") return openForRead(input);
  if (input instanceof Uint8Array) {
    const { buffer, byteOffset, length } = input;
    const own = buffer instanceof ArrayBuffer
      ? new Uint8Array(buffer, byteOffset, length)
      : new Uint8Array(input);
    return Promise.resolve(memorySource(own, name));
  }
  if (input instanceof ArrayBuffer) return Promise.resolve(memorySource(new Uint8Array(input), name));
  if (input instanceof Blob) return Promise.resolve(blobSource(input, name));
  return Promise.resolve(input);
}

/** All bytes of a path, bytes, a Blob or a source; closes it. */
export async function readAll(input: FileInput): Promise<Bytes> {
  const source = await openFile(input);
  try {
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}

/** Opens a folder by path; a {@linkcode FolderSource} is returned as it is. */
export function openFolder(input: FolderInput): FolderSource {
  return typeof input === "string" ? openFolderAt(input) : input;
}

/** A folder of files in memory: names to bytes or Blobs, for example the files a user dropped on a page. */
export function memoryFolder(
  files: ReadonlyMap<string, FileInput> | Readonly<Record<string, FileInput>>,
  name = "files in memory",
): FolderSource {
  const entries = new Map(files instanceof Map ? files : Object.entries(files));
  return {
    name,
    open(path) {
      const input = entries.get(checkRelativePath(path, `open a file of ${quote(name)}`));
      return input === undefined ? Promise.resolve(undefined) : openFile(input, `${name}/${path}`);
    },
  };
}

/**
 * A folder behind a URL prefix. Each file is fetched whole when it is opened (as a Blob, which browsers may keep on
 * disk); 404 means that there is no such file.
 *
 * @throws {Error} from `open` when the server answers with another error status.
 */
export function urlFolder(
  baseUrl: string | URL,
  options: { fetch?: typeof fetch; headers?: HeadersInit } = {},
): FolderSource {
  const base = String(baseUrl).replace(/\/?$/, "/");
  const get = options.fetch ?? fetch;
  return {
    name: base,
    async open(path) {
      checkRelativePath(path, `open a file of ${quote(base)}`);
      const url = base + path.split("/").map(encodeURIComponent).join("/");
      const response = await get(url, options.headers ? { headers: options.headers } : undefined);
      if (response.ok) return blobSource(await response.blob(), url);
      await response.body?.cancel();
      if (response.status === 404) return undefined;
      throw new Error(
        `Cannot fetch ${quote(url)}: status 200 or 404 is required, received ${response.status}`,
      );
    },
  };
}
