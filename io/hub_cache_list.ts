/**
 * What the model cache holds, and making room in it.
 *
 * @module
 */
import { host, isNotFound } from "./_node.ts";
import { isHubId } from "./hub_id.ts";
import { defaultCacheDir, ModelCache } from "./hub_cache.ts";
import { quote } from "./relative_path.ts";

/**
 * A model of the cache.
 *
 * @example
 * ```ts
 * import { type CachedModel, listCachedModels } from "@peft/webgpu/hub";
 *
 * const bySize = (a: CachedModel, b: CachedModel) => b.byteLength - a.byteLength;
 * for (const { id, byteLength, modified } of (await listCachedModels()).sort(bySize)) {
 *   console.log(id, `${(byteLength / 1e6).toFixed(1)} MB`, modified.toISOString());
 * }
 * ```
 */
export interface CachedModel {
  /** Its id: "gpt2", "org/name". */
  id: string;
  /** Its folder. */
  path: string;
  /** Bytes on disk, unfinished downloads included. */
  byteLength: number;
  /** Commits that have files, with the branches and tags that point to them. */
  revisions: { commit: string; refs: string[] }[];
  /** When something of it was last written. */
  modified: Date;
}

/** Sizes and latest change of the files below a folder; links count as nothing. */
async function measure(folder: string): Promise<{ byteLength: number; modifiedMs: number }> {
  const { fs, path: paths } = await host();
  const total = { byteLength: 0, modifiedMs: 0 };
  for (const entry of await fs.readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const stat = await fs.stat(paths.join(entry.parentPath, entry.name));
    total.byteLength += stat.size;
    total.modifiedMs = Math.max(total.modifiedMs, stat.mtimeMs);
  }
  return total;
}

/** Names in a folder; none where there is none. */
async function namesIn(folder: string): Promise<string[]> {
  const { fs } = await host();
  try {
    return (await fs.readdir(folder)).sort();
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** Every branch and tag that is kept, with its commit. */
async function refsOf(folder: string): Promise<[ref: string, commit: string][]> {
  const { fs, path: paths } = await host();
  const root = paths.join(folder, "refs");
  const entries = await fs.readdir(root, { withFileTypes: true, recursive: true }).catch(() => []);
  return await Promise.all(
    entries.filter((entry) => entry.isFile()).map(async (entry): Promise<[string, string]> => {
      const full = paths.join(entry.parentPath, entry.name);
      const ref = paths.relative(root, full).replaceAll(paths.sep, "/");
      return [ref, (await fs.readFile(full, "utf8")).trim()];
    }),
  );
}

/**
 * The models of the cache that is shared with Python, by name.
 *
 * @param cacheDir default HF_HUB_CACHE, or `hub` in HF_HOME.
 * @example
 * ```ts
 * import { listCachedModels } from "@peft/webgpu/hub";
 *
 * for (const { id, byteLength } of await listCachedModels()) console.log(id, byteLength);
 * ```
 */
export async function listCachedModels(cacheDir?: string): Promise<CachedModel[]> {
  const { path: paths } = await host();
  const root = cacheDir ?? await defaultCacheDir();
  const models: CachedModel[] = [];
  for (const name of await namesIn(root)) {
    const [, id] = /^models--(.+)$/.exec(name) ?? [];
    if (id === undefined) continue;
    const path = paths.join(root, name);
    const refs = await refsOf(path);
    const revisions = (await namesIn(paths.join(path, "snapshots"))).map((commit) => ({
      commit,
      refs: refs.filter(([, at]) => at === commit).map(([ref]) => ref),
    }));
    const { byteLength, modifiedMs } = await measure(path);
    models.push({ id: id.replace("--", "/"), path, byteLength, revisions, modified: new Date(modifiedMs) });
  }
  return models;
}

/**
 * Removes a model from the cache, with every revision.
 *
 * @example
 * ```ts ignore
 * import { deleteCachedModel, listCachedModels } from "@peft/webgpu/hub";
 *
 * for (const { id } of await listCachedModels()) console.log(id);
 * console.log(`${await deleteCachedModel("gpt2")} bytes are free again`);
 * ```
 *
 * @returns the bytes that it had.
 * @throws {TypeError} for what is no hub id; {Error} where the cache has no such model.
 */
export async function deleteCachedModel(id: string, cacheDir?: string): Promise<number> {
  if (!isHubId(id)) {
    throw new TypeError(
      `Cannot delete from the cache: a hub id such as "gpt2" or "org/name" is required, received ${
        quote(id)
      }`,
    );
  }
  const { fs, path: paths } = await host();
  const root = cacheDir ?? await defaultCacheDir();
  const { folder } = await ModelCache.of(root, id);
  const measured = await measure(folder).catch((error) => {
    if (!isNotFound(error)) throw error;
    throw new Error(
      `Cannot delete ${quote(id)} from the cache: a model of ${
        quote(root)
      } is required, received none of that name`,
    );
  });
  await fs.rm(folder, { recursive: true, force: true });
  await fs.rm(paths.join(root, ".locks", paths.basename(folder)), { recursive: true, force: true });
  return measured.byteLength;
}
