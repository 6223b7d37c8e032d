/**
 * What bytes are read from: a random-access {@linkcode FileSource} and a folder of them, a {@linkcode FolderSource}.
 * `open_file.ts` makes them of paths, bytes, Blobs and URLs.
 *
 * @module
 */
import { quote } from "./relative_path.ts";

/**
 * Bytes over an ArrayBuffer of their own kind, as WebGPU's `writeBuffer` takes them.
 *
 * @example
 * ```ts
 * import { type Bytes, type FolderStore, memoryStore, sha256Of } from "@peft/webgpu/io";
 *
 * // keeps bytes under their hash
 * const keep = async (store: FolderStore, bytes: Bytes) => await store.write(await sha256Of(bytes), [bytes]);
 * await keep(memoryStore(), new TextEncoder().encode("Ahoy"));
 * ```
 */
export type Bytes = Uint8Array<ArrayBuffer>;

/**
 * A file of known size that can be read at any place.
 *
 * @example
 * ```ts
 * import { type FileSource, safetensors } from "@peft/webgpu/io";
 *
 * // a file that lies elsewhere, such as in a database, is read where it is
 * const bytes = await Deno.readFile("examples/demo/model/model.safetensors");
 * const source: FileSource = {
 *   name: "row 7",
 *   size: bytes.length,
 *   read: (offset, length) => Promise.resolve(bytes.slice(offset, offset + length)),
 *   close: () => Promise.resolve(),
 * };
 * console.log((await safetensors.open(source)).names().length); // 52
 * ```
 */
export interface FileSource {
  /** What error messages call it: a path or a URL. */
  readonly name: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /**
   * The bytes [offset, offset + length).
   *
   * @param room may be used for the bytes, if it has room: then they are valid until it is used again.
   * @throws {RangeError} when the range is not inside the file, and an Error when the file has become shorter.
   */
  read(offset: number, length: number, room?: Bytes): Promise<Bytes>;
  /** Releases the handle; later reads fail. */
  close(): Promise<void>;
}

/**
 * Anything {@linkcode openFile} turns into a {@linkcode FileSource}; a string is a path or a web address.
 *
 * @example
 * ```ts
 * import { type FileInput, sha256Of } from "@peft/webgpu/io";
 *
 * const inputs: FileInput[] = ["examples/demo/model/config.json", new Blob(["Ahoy"]), new Uint8Array([1, 2, 3])];
 * for (const input of inputs) console.log(await sha256Of(input));
 * ```
 */
export type FileInput = string | URL | Uint8Array | ArrayBuffer | Blob | FileSource;

/**
 * Files found by their relative path: a folder on disk, a set of Blobs, or a URL prefix.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import { type FolderSource, memoryFolder } from "@peft/webgpu/io";
 *
 * const files = { "tokenizer.json": await Deno.readFile("examples/demo/model/tokenizer.json") };
 * const inMemory: FolderSource = memoryFolder(files);
 * const logged: FolderSource = {
 *   name: "logged",
 *   open(path) {
 *     console.log(path);
 *     return inMemory.open(path);
 *   },
 * };
 * console.log((await AutoTokenizer.fromPretrained(logged)).vocabSize); // 768
 * ```
 */
export interface FolderSource {
  /** What error messages call it. */
  readonly name: string;
  /**
   * Opens a file of the folder; undefined when there is none of that name.
   *
   * @param path relative, with "/".
   * @param options `inside`: refuse a link that leads out of the folder (for names that a file suggests).
   */
  open(path: string, options?: { inside?: boolean }): Promise<FileSource | undefined>;
  /** Names of the files at its top; absent where nobody can tell, as behind a URL. */
  list?(): Promise<readonly string[]>;
}

/**
 * A folder in memory: what is written to it can be read from it, and `files` holds it all.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, memoryFolder, type MemoryFolder } from "@peft/webgpu";
 *
 * const folder: MemoryFolder = memoryFolder();
 * await (await AutoTokenizer.fromPretrained("examples/demo/model")).savePretrained(folder);
 * console.log([...folder.files.keys()]); // what a page can put into a zip file
 * ```
 */
export interface MemoryFolder extends FolderSource {
  /** Relative path to contents; what was written is bytes. */
  readonly files: Map<string, FileInput>;
}

/**
 * A folder that a user dropped on a page or picked, as far as it is used (`FileSystemDirectoryHandle`).
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { DirectoryHandle } from "@peft/webgpu/io";
 *
 * // loads the model whose folder a user dropped on a page
 * async function loadDropped({ dataTransfer }: DragEvent) {
 *   const item = dataTransfer!.items[0] as DataTransferItem & { getAsFileSystemHandle(): Promise<DirectoryHandle> };
 *   return await AutoModelForCausalLM.fromPretrained(await item.getAsFileSystemHandle());
 * }
 * ```
 */
export interface DirectoryHandle {
  /** "directory". */
  readonly kind: "directory";
  /** Its own name. */
  readonly name: string;
  /** A folder in it; rejects with a NotFoundError or TypeMismatchError where there is none. */
  getDirectoryHandle(name: string): Promise<DirectoryHandle>;
  /** A file in it; rejects likewise. */
  getFileHandle(name: string): Promise<{ getFile(): Promise<File> }>;
}

/**
 * Anything {@linkcode openFolder} turns into a {@linkcode FolderSource}: a path, a URL prefix (a `URL`, or a string that
 * begins with `http:` or `https:`), files that a user picked (a `FileList` or `File[]`), a dropped folder's handle, or a
 * source such as `memoryFolder` and `urlFolder` make.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type FolderInput } from "@peft/webgpu";
 *
 * const places: FolderInput[] = ["examples/demo/model", new URL("https://example.com/examples/demo/model/")];
 * for (const place of places) console.log((await AutoTokenizer.fromPretrained(place)).vocabSize); // 768
 * ```
 */
export type FolderInput = string | URL | ArrayLike<File> | DirectoryHandle | FolderSource;

/**
 * Checks a read of [offset, offset + length) against the size of a source.
 *
 * @throws {RangeError} when it is not inside.
 */
export function checkRange(name: string, size: number, offset: number, length: number): void {
  if (
    Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 &&
    offset + length <= size
  ) return;
  throw new RangeError(
    `Cannot read ${
      quote(name)
    }: the range must be inside its ${size} bytes, received ${length} bytes at ${offset}`,
  );
}

/** Bytes in memory as a source; reads are views, not copies. */
export function memorySource(bytes: Bytes, name: string): FileSource {
  return {
    name,
    size: bytes.length,
    read(offset, length) {
      checkRange(name, bytes.length, offset, length);
      return Promise.resolve(bytes.subarray(offset, offset + length));
    },
    close: () => Promise.resolve(),
  };
}

/** A Blob as a source; reads copy the range alone. */
export function blobSource(blob: Blob, name: string): FileSource {
  return {
    name,
    size: blob.size,
    async read(offset, length) {
      checkRange(name, blob.size, offset, length);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
    close: () => Promise.resolve(),
  };
}

/** The bytes of a source in pieces of at most `maxBytes`, in order; with `room`, each is valid until the next. */
export async function* chunksOf(
  source: FileSource,
  offset: number,
  length: number,
  maxBytes: number,
  room?: Bytes,
): AsyncIterableIterator<Bytes> {
  if (!(Number.isSafeInteger(maxBytes) && maxBytes > 0)) {
    throw new RangeError(
      `Cannot read ${quote(source.name)}: maxBytes must be a positive integer, received ${maxBytes}`,
    );
  }
  for (let at = 0; at < length; at += maxBytes) {
    yield await source.read(offset + at, Math.min(maxBytes, length - at), room);
  }
}
