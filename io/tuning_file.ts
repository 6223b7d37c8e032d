/**
 * Where the results of `tuneKernels` are kept between runs: a file in the user's cache folder, one per adapter, or a
 * browser's localStorage under the same name.
 * @module
 */
import { environment, host } from "./_node.ts";
import { writeFileAtomic } from "./atomic_file.ts";
import { exists, makeDirectory, readFile } from "./files.ts";

/** The part of the Web Storage interface that is used. */
interface TextStorage {
  getItem(name: string): string | null;
  setItem(name: string, text: string): void;
}

/** Results are some tens of KB; a file past this is none of ours. */
const MAX_BYTES = 4 * 2 ** 20;

/** Whether there is a file system: Deno, Node. Else a browser's storage serves. */
function hasFiles(): boolean {
  return typeof (globalThis as { process?: { getBuiltinModule?: unknown } }).process?.getBuiltinModule ===
    "function";
}

function storage(): TextStorage | null {
  try {
    return (globalThis as { localStorage?: TextStorage }).localStorage ?? null;
  } catch {
    return null; // a browser that allows a page no storage throws
  }
}

/** A name that is safe in paths: letters, digits and dashes. */
function slug(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "") || "unknown";
}

/**
 * Where the results for an adapter are kept: `$XDG_CACHE_HOME/peft-webgpu/tuning/<adapter>.json`, with `~/.cache` where
 * the variable is unset; in a browser a name in localStorage.
 *
 * @example
 * ```ts
 * import { tuningPath } from "@peft/webgpu/tuning";
 *
 * console.log(await tuningPath("llvmpipe")); // ~/.cache/peft-webgpu/tuning/llvmpipe.json
 * ```
 */
export async function tuningPath(adapterName: string): Promise<string> {
  const name = `${slug(adapterName)}.json`;
  if (!hasFiles()) return `peft-webgpu/tuning/${name}`;
  const { path, os } = await host();
  const home = environment("HOME") ?? os.homedir();
  return path.join(environment("XDG_CACHE_HOME") ?? path.join(home, ".cache"), "peft-webgpu", "tuning", name);
}

/**
 * The kept results for an adapter, as text for `loadTuning`; null where there are none or they cannot be read (with a
 * warning, since the fixed tables serve as well).
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { loadTuning, readTuning } from "@peft/webgpu/tuning";
 *
 * const device = await initDevice();
 * const text = await readTuning(device.adapterName);
 * if (text !== null) loadTuning(device, text);
 * ```
 * @param path another place than `tuningPath(adapterName)`
 */
export async function readTuning(adapterName: string, path?: string): Promise<string | null> {
  try {
    const place = path ?? await tuningPath(adapterName);
    if (!hasFiles()) return storage()?.getItem(place) ?? null;
    if (!await exists(place)) return null;
    return new TextDecoder().decode(await readFile(place, { maxBytes: MAX_BYTES }));
  } catch (error) {
    // Deno without permission to look into the user's folder: nobody asked for the results
    if (path === undefined && (error as Error).name === "NotCapable") return null;
    console.warn(`Cannot use the tuning results: ${(error as Error).message}`);
    return null;
  }
}

/**
 * Keeps results: text of `saveTuning`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { saveTuning, writeTuning } from "@peft/webgpu/tuning";
 *
 * const device = await initDevice();
 * console.log(await writeTuning(device.adapterName, saveTuning(device), "out/tuning.json")); // out/tuning.json
 * ```
 * @param path another place than `tuningPath(adapterName)`
 * @returns where they are now
 * @throws {Error} if they cannot be written
 */
export async function writeTuning(adapterName: string, text: string, path?: string): Promise<string> {
  const place = path ?? await tuningPath(adapterName);
  if (hasFiles()) {
    await makeDirectory((await host()).path.dirname(place));
    await writeFileAtomic(place, text);
    return place;
  }
  const store = storage();
  if (!store) throw new Error("Cannot keep the tuning results: a file system or localStorage is required");
  store.setItem(place, text);
  return place;
}
