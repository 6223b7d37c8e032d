/**
 * A lock on a folder that one process at a time may write to: a file that names the process, removed at the end. One that
 * was left by a process that is gone is taken over.
 * @module
 */
import { errorCode, host, isNotFound, type Liveness, livenessOf, ownPid } from "./_node.ts";
import { quote } from "./relative_path.ts";

/** Name of the file. */
const LOCK = ".in-use.json";
/** How often the holder touches it. */
const TOUCH_MS = 2000;
/** How long a lock may be untouched where nobody can say whether its process lives: longer than a step takes. */
const PATIENCE_MS = 20_000;
/** A lock untouched for so long is nobody's, even if a process has its number. */
const STALE_MS = 15 * 60_000;

/** What the file says. */
interface Holder {
  readonly pid: number;
  readonly host: string | null;
  readonly since: string;
  readonly token: string;
}

/**
 * A lock that is held.
 *
 * @example
 * ```ts
 * import { type FolderLock, lockFolder } from "@peft/webgpu/io";
 *
 * const lock: FolderLock = await lockFolder("out/run", "clear the run");
 * try {
 *   await Deno.remove("out/run/log.txt").catch(() => {});
 * } finally {
 *   await lock.release(); // also where the work fails
 * }
 * ```
 */
export interface FolderLock {
  /** Gives it up. Never fails: a lock that is left is taken over. */
  release(): Promise<void>;
}

/** Tokens of the locks that this process holds. */
const held = new Set<string>();

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The computer's name; null where the runtime may not know it. */
async function hostName(): Promise<string | null> {
  try {
    return (await host()).os.hostname();
  } catch {
    return null; // Deno without --allow-sys
  }
}

/** Who holds a lock; undefined where there is none, null where the file says nothing (yet). */
async function holderOf(path: string): Promise<{ holder: Holder | null; touched: number } | undefined> {
  const { fs } = await host();
  try {
    const [text, { mtimeMs: touched }] = [await fs.readFile(path, "utf8"), await fs.stat(path)];
    try {
      return { holder: JSON.parse(text) as Holder, touched };
    } catch {
      return { holder: null, touched };
    }
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Whether the process of a lock that was found may still be at work. */
async function isHeld(
  path: string,
  { holder, touched }: { holder: Holder | null; touched: number },
  patienceMs: number,
): Promise<boolean> {
  if (Date.now() - touched > STALE_MS) return false;
  if (holder && held.has(holder.token)) return true;
  if (holder?.host && holder.host === await hostName()) {
    if (holder.pid === ownPid()) return false; // of an earlier process of that number
    const liveness: Liveness = livenessOf(holder.pid);
    if (liveness !== "unknown") return liveness === "alive";
  }
  // Another computer's, or one whose processes are not ours to see: a process that lives touches it.
  const who = holder ? `process ${holder.pid}` : "a process";
  console.warn(
    `${quote(path)} is a lock of ${who}; watching up to ${patienceMs / 1000} s for a sign of life`,
  );
  for (let waited = 0; waited < patienceMs; waited += 200) {
    await sleep(200);
    const now = await holderOf(path);
    if (!now) return false;
    if (now.touched !== touched) return true;
  }
  return false;
}

/**
 * Locks a folder, which is made if need be, until `release`. The lock of a process that is gone is taken over, at once
 * where that is known (the same computer, and Deno with --allow-run), else after 20 seconds without a sign of life.
 *
 * @example
 * ```ts
 * import { lockFolder } from "@peft/webgpu/io";
 *
 * const lock = await lockFolder("out/run", "train"); // another run that asks is refused
 * await lock.release();
 * ```
 *
 * @param action what needs it, such as `train`, for the message.
 * @throws {Error} where another run holds it, naming its process
 */
export async function lockFolder(
  folder: string,
  action: string,
  options: { patienceMs?: number } = {},
): Promise<FolderLock> {
  const { fs, path: paths, crypto } = await host();
  await fs.mkdir(folder, { recursive: true });
  const path = paths.join(folder, LOCK);
  const token = crypto.randomUUID();
  const holder: Holder = { pid: ownPid(), host: await hostName(), since: new Date().toISOString(), token };
  held.add(token);
  try {
    for (let tries = 0;; tries++) {
      try {
        await fs.writeFile(path, `${JSON.stringify(holder)}\n`, { flag: "wx" });
        break;
      } catch (error) {
        if (errorCode(error) !== "EEXIST") throw error;
      }
      const found = await holderOf(path);
      if (!found) continue; // given up in between
      if (tries > 2 || await isHeld(path, found, options.patienceMs ?? PATIENCE_MS)) {
        const other = found.holder;
        const who = other
          ? `process ${other.pid}${other.host ? ` on ${other.host}` : ""} since ${other.since}`
          : "another process";
        throw new Error(
          `Cannot ${action}: a folder that no other run uses is required, received ${
            quote(folder)
          }, in use by ${who}; wait for it, or choose another folder (if nothing runs, remove ${
            quote(path)
          })`,
        );
      }
      // Of several that take it over, one renames it; a lock that another has made meanwhile is put back.
      const stale = `${path}.${token}`;
      if (!await fs.rename(path, stale).then(() => true, () => false)) continue;
      const taken = await holderOf(stale);
      if (taken?.holder?.token !== found.holder?.token) await fs.link(stale, path).catch(() => {});
      await fs.rm(stale, { force: true });
    }
  } catch (error) {
    held.delete(token);
    throw error;
  }
  const touch = async () => {
    const now = new Date();
    await fs.utimes(path, now, now).catch(() => {});
  };
  const timer = setInterval(() => void touch(), TOUCH_MS);
  return {
    async release() {
      clearInterval(timer);
      held.delete(token);
      const found = await holderOf(path).catch(() => undefined);
      if (found?.holder?.token === token) await fs.rm(path, { force: true }).catch(() => {});
    },
  };
}
