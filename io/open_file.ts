/**
 * Paths, bytes, Blobs and URLs as file and folder sources, so that a browser can hand over a model without a file system.
 *
 * @module
 */
import {
  blobSource,
  type Bytes,
  type DirectoryHandle,
  type FileInput,
  type FileSource,
  type FolderInput,
  type FolderSource,
  type MemoryFolder,
  memorySource,
} from "./file_source.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/** The path of a `file:` URL. */
function pathOf(url: URL): string {
  return decodeURIComponent(url.pathname.replace(/^\/(?=[a-zA-Z]:)/, ""));
}

/** What messages call bytes and Blobs. */
function nameOfBytes(input: FileInput): string {
  return input instanceof Blob && "name" in input ? String(input.name) : "bytes in memory";
}

async function openPath(path: string): Promise<FileSource> {
  const { openForRead } = await import("./files.ts");
  return await openForRead(path);
}

async function openAddress(address: string | URL): Promise<FileSource> {
  const { urlFile } = await import("./url_file.ts");
  return await urlFile(address);
}

/** A folder on disk. A folder that is not there has no files. */
function pathFolder(folder: string): FolderSource {
  return {
    name: folder,
    async open(name, options) {
      const { openInFolder } = await import("./files.ts");
      return await openInFolder(folder, name, options);
    },
    async list() {
      const { listDirectory } = await import("./files.ts");
      return await listDirectory(folder);
    },
  };
}

const isSource = (input: FileInput): input is FileSource =>
  typeof (input as Partial<FileSource> | null)?.read === "function";

/**
 * Opens a path, a URL, bytes, a Blob or an already open source. Reads of memory return views, not copies.
 *
 * @param name what messages call bytes and Blobs; default a file's own name.
 */
export function openFile(input: FileInput, name?: string): Promise<FileSource> {
  return isSource(input) ? Promise.resolve(input) : openInput(input, name);
}

async function openInput(
  input: Exclude<FileInput, FileSource>,
  name: string = nameOfBytes(input),
): Promise<FileSource> {
  if (typeof input === "string") return await (isWebAddress(input) ? openAddress(input) : openPath(input));
  if (input instanceof URL) {
    return await (input.protocol === "file:" ? openPath(pathOf(input)) : openAddress(input));
  }
  if (input instanceof Uint8Array) {
    const { buffer, byteOffset, length } = input;
    const own = buffer instanceof ArrayBuffer
      ? new Uint8Array(buffer, byteOffset, length)
      : new Uint8Array(input);
    return memorySource(own, name);
  }
  if (input instanceof ArrayBuffer) return memorySource(new Uint8Array(input), name);
  return input instanceof Blob ? blobSource(input, name) : input;
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

/** Whether a text is the address of a file or folder on a server, and neither a path nor a hub id. */
export function isWebAddress(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

const isFolderSource = (input: FolderInput): input is FolderSource =>
  typeof (input as Partial<FolderSource> | null)?.open === "function";

/**
 * Opens a folder by path, URL, picked files or a dropped folder's handle; a {@linkcode FolderSource} is returned as it is.
 *
 * @throws {TypeError} for anything else
 */
export function openFolder(input: FolderInput): FolderSource {
  if (input instanceof URL && input.protocol !== "file:") return urlFolder(input);
  return isFolderSource(input) ? input : openOther(input);
}

/** A folder by path, as picked files, or as a handle. */
function openOther(input: Exclude<FolderInput, FolderSource>): FolderSource {
  if (typeof input === "string") return isWebAddress(input) ? urlFolder(input) : pathFolder(input);
  if (input instanceof URL) return pathFolder(pathOf(input));
  if (typeof input === "object" && input !== null) {
    if ("getFileHandle" in input) return handleFolder(input);
    if ("length" in input) return filesFolder(Array.from(input));
  }
  throw new TypeError(
    `Cannot open a folder: a path, a URL, a list of files or a folder source is required, received ${
      input === null ? "null" : typeof input
    }`,
  );
}

/** Files that a user picked; those of `<input webkitdirectory>` are named below the folder that was picked. */
function filesFolder(files: readonly File[]): FolderSource {
  const entries = new Map<string, FileInput>();
  for (const file of files) {
    const below = file.webkitRelativePath?.split("/").slice(1).join("/");
    entries.set(below || file.name, file);
  }
  const folder = files[0]?.webkitRelativePath?.split("/")[0];
  return memoryFolder(entries, folder || "picked files");
}

/** A folder that was dropped on a page. */
function handleFolder(handle: DirectoryHandle): FolderSource {
  return {
    name: handle.name,
    async open(path) {
      const parts = checkRelativePath(path, `open a file of ${quote(handle.name)}`).split("/");
      try {
        let folder = handle;
        for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part);
        const file = await (await folder.getFileHandle(parts.at(-1)!)).getFile();
        return blobSource(file, `${handle.name}/${path}`);
      } catch (error) {
        const { name } = error as { name?: string };
        if (name === "NotFoundError" || name === "TypeMismatchError") return undefined;
        throw error;
      }
    },
  };
}

/**
 * A folder in memory: relative paths to bytes or Blobs. `savePretrained` writes to it, and `fromPretrained` reads it.
 *
 * @example
 * ```ts
 * import { memoryFolder, type PeftModel } from "@peft/webgpu";
 *
 * declare const peftModel: PeftModel;
 * const folder = memoryFolder();
 * await peftModel.savePretrained(folder);
 * for (const [path, bytes] of folder.files) console.log(path, bytes);
 * ```
 */
export function memoryFolder(
  files: ReadonlyMap<string, FileInput> | Readonly<Record<string, FileInput>> = {},
  name = "files in memory",
): MemoryFolder {
  const entries = new Map<string, FileInput>(files instanceof Map ? files : Object.entries(files));
  return {
    name,
    files: entries,
    open(path) {
      const input = entries.get(checkRelativePath(path, `open a file of ${quote(name)}`));
      return input === undefined ? Promise.resolve(undefined) : openFile(input, `${name}/${path}`);
    },
    list: () => Promise.resolve([...entries.keys()].filter((path) => !path.includes("/"))),
  };
}

/** Whether an answer is a web page, by what its server calls it and by how it begins. */
async function isPage(blob: Blob): Promise<boolean> {
  return /^text\/html\b/i.test(blob.type) &&
    /^\s*<(!doctype|html)\b/i.test(await blob.slice(0, 1024).text());
}

function failed(url: string, cause: Error): never {
  throw new Error(
    `Cannot fetch ${quote(url)}: an answer of its server is required, received ${quote(cause.message)}; ` +
      "a server of another origin must allow this page's requests (CORS)",
    { cause },
  );
}

/**
 * A folder behind a URL prefix. Each file is fetched whole when it is opened (as a Blob, which browsers may keep on
 * disk). There is no such file where the server answers 404, or with a web page, as hosts of single-page apps and
 * development servers do for any address.
 *
 * @throws {Error} from `open` when the server answers with another error status, or not at all.
 *
 * @example
 * ```ts
 * import { urlFolder } from "@peft/webgpu";
 *
 * const headers = { "x-key": "secret" };
 * const folder = urlFolder("https://models.example/small/", { headers }); // for fromPretrained
 * console.log(folder.name);
 * ```
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
      const response = await get(url, options.headers ? { headers: options.headers } : undefined)
        .catch((cause) => failed(url, cause));
      if (response.ok) {
        const blob = await response.blob().catch((cause) => failed(url, cause));
        return !/\.html?$/i.test(path) && await isPage(blob) ? undefined : blobSource(blob, url);
      }
      await response.body?.cancel();
      if (response.status === 404) return undefined;
      throw new Error(
        `Cannot fetch ${quote(url)}: status 200 or 404 is required, received ${response.status}`,
      );
    },
  };
}
