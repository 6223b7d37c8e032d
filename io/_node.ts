/**
 * The one door to the host's file system, environment and hashes. Modules are asked for on first use, through
 * `process.getBuiltinModule` (Deno, Node from 20.16, Bun): with no import for them, every bundler makes a browser bundle
 * of `io/` without help. In a browser the first call of a file function throws.
 *
 * @module
 */
import type * as NodeFs from "node:fs/promises";
import type * as NodePath from "node:path";
import type * as NodeCrypto from "node:crypto";
import type * as NodeOs from "node:os";
import type * as NodeUrl from "node:url";

/** `node:fs/promises`, `node:path`, `node:crypto`, `node:os` and `node:url` of the host. */
export interface Host {
  /** `node:fs/promises`. */
  fs: typeof NodeFs;
  /** `node:path`. */
  path: typeof NodePath;
  /** `node:crypto`. */
  crypto: typeof NodeCrypto;
  /** `node:os`. */
  os: typeof NodeOs;
  /** `node:url`. */
  url: typeof NodeUrl;
}

/** The part of the global `process` that is used here; browsers have none. */
interface HostProcess {
  env?: Record<string, string | undefined>;
  pid?: number;
  kill?: (pid: number, signal: number) => void;
  getBuiltinModule?: (name: string) => unknown;
}

function hostProcess(): HostProcess | undefined {
  return (globalThis as { process?: HostProcess }).process;
}

let loaded: Host | undefined;

/**
 * The host's modules, loaded once.
 *
 * @throws {Error} where there is no file system (a browser).
 */
export function host(): Promise<Host> {
  const get = hostProcess()?.getBuiltinModule;
  if (!loaded && !get) {
    return Promise.reject(
      new Error(
        "Cannot open files by path: a file system is required, received a runtime without one; " +
          'pass a URL such as new URL("./model/", location.href), files that were picked, or memoryFolder()',
      ),
    );
  }
  loaded ??= {
    fs: get!("fs/promises") as typeof NodeFs,
    path: get!("path") as typeof NodePath,
    crypto: get!("crypto") as typeof NodeCrypto,
    os: get!("os") as typeof NodeOs,
    url: get!("url") as typeof NodeUrl,
  };
  return Promise.resolve(loaded);
}

/** Whether there is a file system, as {@linkcode host} needs. */
export function hasHost(): boolean {
  return loaded !== undefined || hostProcess()?.getBuiltinModule !== undefined;
}

/** The value of an environment variable; undefined where it is unset, empty, or the runtime may not read it. */
export function environment(name: string): string | undefined {
  try {
    return hostProcess()?.env?.[name] || undefined;
  } catch {
    return undefined; // Deno without --allow-env
  }
}

/** Whether a process lives, as far as this one may know. */
export type Liveness = "alive" | "gone" | "unknown";

/** This process's number; 0 where there is none. */
export function ownPid(): number {
  return hostProcess()?.pid ?? 0;
}

/** Whether a process of this computer lives. */
export function livenessOf(pid: number): Liveness {
  const process = hostProcess();
  if (!process?.kill) return "unknown";
  try {
    process.kill(pid, 0); // asks, and sends nothing
    return "alive";
  } catch (error) {
    const code = errorCode(error);
    return code === "ESRCH" ? "gone" : code === "EPERM" ? "alive" : "unknown"; // Deno without --allow-run
  }
}

/** Words for what a full or locked file system says. */
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "no space is left on the disk",
  EDQUOT: "the quota of the disk is used up",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the disk can only be read",
};

/** Why a file operation failed, in words. */
export function reasonOf(cause: unknown): string {
  const known = REASONS[errorCode(cause) ?? ""];
  return known ?? (cause instanceof Error ? cause.message : String(cause));
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
