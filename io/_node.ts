/**
 * The one door to the host's file system, environment and hashes. Everything here is a dynamic import on first use, so
 * a browser can load every module of `io/`; there the first call of a file function throws.
 *
 * @module
 */
import type * as NodeFs from "node:fs/promises";
import type * as NodePath from "node:path";
import type * as NodeCrypto from "node:crypto";
import type * as NodeOs from "node:os";

/** `node:fs/promises`, `node:path`, `node:crypto` and `node:os` of the host. */
export interface Host {
  fs: typeof NodeFs;
  path: typeof NodePath;
  crypto: typeof NodeCrypto;
  os: typeof NodeOs;
}

let loaded: Promise<Host> | undefined;

/**
 * The host's modules, loaded once.
 *
 * @throws {Error} where there is no file system (a browser).
 */
export function host(): Promise<Host> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<Host> {
  try {
    const [fs, path, crypto, os] = await Promise.all([
      import("node:fs/promises"),
      import("node:path"),
      import("node:crypto"),
      import("node:os"),
    ]);
    return { fs, path, crypto, os };
  } catch (cause) {
    loaded = undefined;
    throw new Error(
      "Cannot open files by path: a file system is required, received a runtime without one; pass bytes, a Blob or a folder source instead",
      { cause },
    );
  }
}

/** The value of an environment variable; undefined where it is unset, empty, or the runtime may not read it. */
export function environment(name: string): string | undefined {
  try {
    const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
    return process?.env?.[name] || undefined;
  } catch {
    return undefined; // Deno without --allow-env
  }
}

/** The `code` of a Node system error ("ENOENT", "EACCES", …); undefined for any other value. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { code, name } = error as { code?: unknown; name?: unknown };
  if (typeof code === "string") return code;
  return name === "NotFound" ? "ENOENT" : undefined;
}

/** True when the error says that the file or folder is not there. */
export function isNotFound(error: unknown): boolean {
  const code = errorCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}
