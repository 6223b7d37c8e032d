/**
 * Files by path, in Deno and Node: reading at any place, whole reads, folders.
 * Writing is in `atomic_file.ts`.
 *
 * @module
 */
import { host, isNotFound } from "./_node.ts";
import { type Bytes, checkRange, type FileSource } from "./file_source.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

/** Reads are cut to this size, because one system call takes at most 2 GiB. */
const MAX_READ = 1 << 30;

function cannot(action: string, path: string, cause: unknown): Error {
  const reason = isNotFound(cause)
    ? "no such file or folder"
    : cause instanceof Error
    ? cause.message
    : String(cause);
  return new Error(`Cannot ${action} ${quote(path)}: ${reason}`, { cause });
}

/**
 * Opens a file for random access. Its size is taken from the open handle, so a file that is replaced afterwards does
 * not mix with this one.
 *
 * @throws {Error} when it is missing, not a file, or not readable; the message names the path.
 */
export async function openForRead(path: string): Promise<FileSource> {
  const { fs } = await host();
  let handle;
  try {
    handle = await fs.open(path, "r");
  } catch (cause) {
    throw cannot("open", path, cause);
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) {
      throw new Error(`Cannot open ${quote(path)}: a file is required, received a folder or device`);
    }
    const size = stat.size;
    const file = handle;
    return {
      name: path,
      size,
      async read(offset, length, room) {
        checkRange(path, size, offset, length);
        const bytes: Bytes = room && room.length >= length
          ? room.subarray(0, length)
          : new Uint8Array(length);
        for (let at = 0; at < length;) {
          let bytesRead: number;
          try {
            ({ bytesRead } = await file.read(bytes, at, Math.min(MAX_READ, length - at), offset + at));
          } catch (cause) {
            throw cannot("read", path, cause);
          }
          if (bytesRead === 0) {
            throw new Error(
              `Cannot read ${quote(path)}: ${size} bytes are required, received ${
                offset + at
              }; the file became shorter while it was open`,
            );
          }
          at += bytesRead;
        }
        return bytes;
      },
      close: () => file.close(),
    };
  } catch (cause) {
    await handle.close();
    throw cause;
  }
}

/**
 * All bytes of a file.
 *
 * @throws {Error} when it cannot be read, or has more than `maxBytes` bytes.
 */
export async function readFile(path: string, options: { maxBytes?: number } = {}): Promise<Bytes> {
  const source = await openForRead(path);
  try {
    if (source.size > (options.maxBytes ?? Infinity)) {
      throw new RangeError(
        `Cannot read ${quote(path)}: at most ${options.maxBytes} bytes are allowed, received ${source.size}`,
      );
    }
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}

async function kindOf(path: string): Promise<"file" | "folder" | "other" | undefined> {
  const { fs } = await host();
  try {
    const stat = await fs.stat(path);
    return stat.isFile() ? "file" : stat.isDirectory() ? "folder" : "other";
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw cannot("look at", path, error);
  }
}

/** True when a file or folder of this path is there (links are followed). */
export async function exists(path: string): Promise<boolean> {
  return (await kindOf(path)) !== undefined;
}

/** True when the path is a file. */
export async function isFile(path: string): Promise<boolean> {
  return (await kindOf(path)) === "file";
}

/** True when the path is a folder. */
export async function isDirectory(path: string): Promise<boolean> {
  return (await kindOf(path)) === "folder";
}

/** Makes a folder and the folders above it; a folder that is already there is no error. */
export async function makeDirectory(path: string): Promise<void> {
  const { fs } = await host();
  try {
    await fs.mkdir(path, { recursive: true });
  } catch (cause) {
    throw cannot("make folder", path, cause);
  }
}

/**
 * Checks that a path is, or can become, a folder in which this process may write; makes nothing that stays. Long work
 * whose result goes there begins with this.
 *
 * @example
 * ```ts
 * import { checkWritableFolder } from "@peft/webgpu";
 *
 * await checkWritableFolder("out/adapter", "train"); // before hours of work whose result goes there
 * ```
 *
 * @param action what needs it, such as `train`, for the message.
 * @throws {Error} naming the path and what stands in the way
 */
export async function checkWritableFolder(folder: string, action: string): Promise<void> {
  const { fs, path, crypto } = await host();
  const refuse = (why: string, cause?: unknown): never => {
    throw new Error(
      `Cannot ${action}: a folder that can be written to is required, received ${quote(folder)}${why}`,
      {
        cause,
      },
    );
  };
  if (folder.trim() === "") refuse("");
  let existing = path.resolve(folder);
  let kind = await kindOf(existing);
  while (kind === undefined && path.dirname(existing) !== existing) {
    kind = await kindOf(existing = path.dirname(existing));
  }
  if (kind !== "folder") refuse(`; ${quote(existing)} is not a folder`);
  let made: string | undefined;
  try { // permissions, read-only file systems, quotas: only a try tells
    made = await fs.mkdir(folder, { recursive: true });
    const probe = path.join(folder, `.write-check-${crypto.randomBytes(4).toString("hex")}`);
    await fs.writeFile(probe, "", { flag: "wx" });
    await fs.rm(probe);
  } catch (cause) {
    refuse(`, where nothing can be written: ${(cause as Error).message}`, cause);
  } finally {
    // remove what the check made, the innermost folder first
    for (let at = path.resolve(folder); made !== undefined; at = path.dirname(at)) {
      await fs.rmdir(at).catch(() => {});
      if (at === path.resolve(made)) break;
    }
  }
}

/** The names in a folder, sorted; [] when the folder is not there. */
export async function listDirectory(path: string): Promise<string[]> {
  const { fs } = await host();
  try {
    return (await fs.readdir(path)).sort();
  } catch (error) {
    if (isNotFound(error)) return [];
    throw cannot("list", path, error);
  }
}

/**
 * Adds bytes to the end of a file; makes it where there is none. A crash leaves a part of them at worst.
 *
 * @throws {Error} naming the path and the reason
 */
export async function appendToFile(path: string, bytes: Uint8Array): Promise<void> {
  const { fs } = await host();
  try {
    await fs.appendFile(path, bytes);
  } catch (cause) {
    throw cannot("write to", path, cause);
  }
}

/** Joins path parts with the host's separator and removes "." and "..". */
export async function joinPath(...parts: string[]): Promise<string> {
  return (await host()).path.join(...parts);
}

/**
 * The folder that links inside `folder` may point into: the folder itself, or, for a snapshot of the model cache
 * (`models--org--name/snapshots/<commit>`), the repository's cache folder, whose `blobs` the snapshot links to.
 */
async function linkRoot(folder: string): Promise<string> {
  const { fs, path } = await host();
  const real = await fs.realpath(folder);
  const snapshots = path.dirname(real);
  const repository = path.dirname(snapshots);
  const isSnapshot = path.basename(snapshots) === "snapshots" &&
    /^(models|datasets)--/.test(path.basename(repository));
  return isSnapshot ? repository : real;
}

/**
 * A file of a folder on disk; undefined where there is none.
 *
 * @param options `inside`: refuse a link that leads out of the folder.
 */
export async function openInFolder(
  folder: string,
  name: string,
  options: { inside?: boolean } = {},
): Promise<FileSource | undefined> {
  checkRelativePath(name, `open a file of ${quote(folder)}`);
  const { fs, path } = await host();
  const full = path.join(folder, name);
  if ((await kindOf(full)) === undefined) return undefined;
  if (options.inside) {
    const root = await linkRoot(folder);
    const real = await fs.realpath(full);
    if (!real.startsWith(root + path.sep)) {
      throw new RangeError(
        `Cannot open ${quote(full)}: the file must be inside ${
          quote(folder)
        }, received a link that leads out of it`,
      );
    }
  }
  return await openForRead(full);
}
