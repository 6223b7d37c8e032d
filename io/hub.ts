/**
 * Models by name: from a folder, from the cache that Python's huggingface_hub also uses, or from the hub.
 *
 * @module
 */
import { environment } from "./_node.ts";
import { parseWeightMap } from "./sharded_checkpoint.ts";
import { isDirectory, isFile, listDirectory, makeDirectory } from "./files.ts";
import { cleanToken, defaultCacheDir, isCommit, ModelCache, storedToken } from "./hub_cache.ts";
import { lookUpCommit, lookUpFiles, lookUpNames } from "./hub_api.ts";
import { downloadBlob, hasBlob, type HubProgress } from "./hub_download.ts";
import { HubError } from "./hub_errors.ts";
import type { HubConnection, HubTimeouts } from "./hub_fetch.ts";
import { type JsonObject, readJsonFrom } from "./json.ts";
import { isHubId } from "./hub_id.ts";
import { openFolder } from "./open_file.ts";
import type { FolderSource } from "./file_source.ts";
import { checkRelativePath, quote } from "./relative_path.ts";

export { HubError, type HubProgress, type HubTimeouts };
export type { HubFailure } from "./hub_errors.ts";

/** The public hub. */
const HUB_URL = "https://huggingface.co";

/**
 * Options of everything that may load from the hub.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { HubOptions } from "@peft/webgpu/hub";
 *
 * const pinned: HubOptions = { revision: "main", localFilesOnly: true }; // or a commit, which never changes
 * const tokenizer = await AutoTokenizer.fromPretrained("gpt2", pinned);
 * console.log(tokenizer.vocabSize);
 * ```
 */
export interface HubOptions {
  /** Branch, tag or commit; default "main". */
  revision?: string;
  /** Cache folder; default HF_HUB_CACHE, or `hub` in HF_HOME, as in Python. */
  cacheDir?: string;
  /** Use the cache alone, never the network; also set by HF_HUB_OFFLINE=1. */
  localFilesOnly?: boolean;
  /** Access token; default HF_TOKEN, or the one that `hf auth login` stored. */
  token?: string;
  /** Address of the hub; default HF_ENDPOINT or the public hub. */
  hubUrl?: string;
  /** Used instead of the global fetch. */
  fetch?: typeof fetch;
  /** Called as the bytes of each file arrive. */
  onProgress?: (progress: HubProgress) => void;
  /** Also hash files that are in the cache already, and fetch damaged ones again; default: compare sizes. */
  verify?: boolean;
  /** Time limits of the requests. */
  timeouts?: HubTimeouts;
}

/** A model's configuration, which every checkpoint has. */
const CONFIG = "config.json";

/** Options of {@linkcode resolveModelFolder}. */
export interface ResolveOptions extends HubOptions {
  /** What messages call it; default "model". */
  kind?: "model" | "adapter";
  /** Files that must be there. */
  files?: readonly string[];
  /** Files that are taken where they are. */
  optionalFiles?: readonly string[];
  /** Called when `config.json` has arrived, before anything larger is downloaded; it may refuse the model by throwing. */
  checkConfig?: (config: JsonObject) => void;
}

/** True for strings that can only be meant as paths: hub ids have at most one slash and start with a letter or digit. */
function looksLikePath(id: string): boolean {
  return /^[./~]|^[a-z]:|\\/i.test(id) || id.split("/").length > 2 || id.endsWith("/");
}

/** A connection to the hub of the options, of HF_ENDPOINT, or the public one. @throws {RangeError} for a token that is none */
export async function connectHub(
  options: Pick<HubOptions, "hubUrl" | "fetch" | "token" | "timeouts">,
): Promise<HubConnection> {
  return {
    hubUrl: (options.hubUrl ?? environment("HF_ENDPOINT") ?? HUB_URL).replace(/\/+$/, ""),
    fetch: options.fetch ?? ((input, init) => fetch(input, init)), // a browser's own must be called bare
    token: cleanToken(options.token ?? await storedToken() ?? ""),
    timeouts: { connectMs: 10_000, stallMs: 30_000, retryMs: 500, ...options.timeouts },
  };
}

/** Whether the cache alone is used: by the options, or by HF_HUB_OFFLINE. */
export function isOffline(options: Pick<HubOptions, "localFilesOnly">): boolean {
  return options.localFilesOnly ?? /^(1|true|yes|on)$/i.test(environment("HF_HUB_OFFLINE") ?? "");
}

interface Wanted {
  required: readonly string[];
  optional: readonly string[];
}

/** The cached snapshot of a revision when it has every required file; else what is missing. */
async function fromCache(
  cache: ModelCache,
  revision: string,
  wanted: Wanted,
): Promise<{ folder?: string; commit?: string; missing: readonly string[] }> {
  const commit = await cache.commitOf(revision);
  if (!commit) return { missing: wanted.required };
  const missing = await cache.missing(commit, wanted.required);
  const present = await isDirectory(cache.snapshot(commit));
  return { folder: present && missing.length === 0 ? cache.snapshot(commit) : undefined, commit, missing };
}

/** True when a commit's files are all in the cache or known to be absent, so that nobody has to be asked. */
async function isComplete(cache: ModelCache, commit: string, wanted: Wanted): Promise<boolean> {
  for (const file of await cache.missing(commit, wanted.optional)) {
    if (!await cache.isKnownAbsent(commit, file)) return false;
  }
  return true;
}

async function download(
  connection: HubConnection,
  cache: ModelCache,
  id: string,
  commit: string,
  wanted: Wanted,
  options: ResolveOptions,
): Promise<void> {
  const paths = [...new Set([...wanted.required, ...wanted.optional])];
  const files = await lookUpFiles(connection, id, commit, paths);
  const absent = wanted.required.filter((path) => !files.has(path));
  if (absent.length > 0) {
    throw new HubError(
      "not-found",
      `Cannot download ${quote(id)}: ${
        absent.map(quote).join(", ")
      } is required, and the model has no such file`,
      { status: 404 },
    );
  }
  await makeDirectory(cache.snapshot(commit));
  for (const path of paths) {
    const file = files.get(path);
    if (!file) {
      await cache.setAbsent(commit, path);
      continue;
    }
    const blob = cache.blob(file.etag);
    if (!(await hasBlob(blob, file, options.verify ?? false))) {
      const url = `${connection.hubUrl}/${id}/resolve/${commit}/${
        path.split("/").map(encodeURIComponent).join("/")
      }`;
      await downloadBlob(connection, url, file, blob, options.onProgress);
    }
    await cache.link(commit, path, file.etag);
    if (path === CONFIG && options.checkConfig) {
      options.checkConfig(await readJsonFrom(openFolder(cache.snapshot(commit)), CONFIG) ?? {});
    }
  }
}

/** Asks the hub, downloads what is missing; the snapshot's folder. */
async function fromHub(
  cache: ModelCache,
  id: string,
  revision: string,
  wanted: Wanted,
  options: ResolveOptions,
): Promise<string> {
  const connection = await connectHub(options);
  const commit = await lookUpCommit(connection, id, revision);
  await download(connection, cache, id, commit, wanted, options);
  await cache.setCommit(revision, commit);
  return cache.snapshot(commit);
}

/**
 * A folder on disk with the files of a model. A local folder is returned as it is. A hub id ("gpt2", "org/name") is
 * looked up in the cache shared with Python, and downloaded when it is not there or the hub has a newer commit; without
 * network, what the cache has is used.
 *
 * @param idOrDir folder or hub id.
 * @param options which files, and where from.
 * @returns the folder's path.
 * @throws {HubError} `failure` says why: unauthorized, not-found, offline, not-cached, bad-answer, status.
 * @throws {Error} when a path has no folder, or the text is neither a path nor a hub id.
 */
export async function resolveModelFolder(idOrDir: string, options: ResolveOptions = {}): Promise<string> {
  if (idOrDir !== "" && await isDirectory(idOrDir)) return idOrDir;
  if (!isHubId(idOrDir)) {
    const reason = idOrDir !== "" && await isFile(idOrDir)
      ? "a folder is required, received a file; give the folder that it is in"
      : looksLikePath(idOrDir)
      ? "no such folder"
      : 'a folder or a hub id such as "gpt2" or "org/name" is required';
    throw new Error(`Cannot find ${options.kind ?? "model"} folder ${quote(idOrDir)}: ${reason}`);
  }
  const revision = options.revision ?? "main";
  const wanted: Wanted = { required: options.files ?? [], optional: options.optionalFiles ?? [] };
  for (const name of [revision, ...wanted.required, ...wanted.optional]) {
    checkRelativePath(name, `load ${quote(idOrDir)}`);
  }
  const cache = await ModelCache.of(options.cacheDir ?? await defaultCacheDir(), idOrDir);
  const cached = await fromCache(cache, revision, wanted);
  if (isOffline(options)) {
    if (cached.folder) return cached.folder;
    throw new HubError(
      "not-cached",
      `Cannot load ${quote(idOrDir)} without network: the cache ${quote(cache.folder)} must have ${
        cached.commit ? cached.missing.map(quote).join(", ") : `revision ${quote(revision)}`
      }; download it once, or unset localFilesOnly and HF_HUB_OFFLINE`,
    );
  }
  if (cached.folder && isCommit(revision) && !options.verify && await isComplete(cache, revision, wanted)) {
    return cached.folder;
  }
  try {
    return await fromHub(cache, idOrDir, revision, wanted, options);
  } catch (error) {
    if (isUnreachable(error) && cached.folder) return cached.folder;
    if (error instanceof HubError && !cached.commit && error.failure !== "bad-answer") {
      const local = await isFile(idOrDir)
        ? `${quote(idOrDir)} here is a file, where a folder is required`
        : `there is no local folder ${quote(idOrDir)} either`;
      throw new HubError(
        error.failure,
        `${error.message}; ${local}`,
        { status: error.status, cause: error },
      );
    }
    throw error;
  }
}

/** True where the hub could not be reached, or answered that it cannot serve now. */
function isUnreachable(error: unknown): error is HubError {
  return error instanceof HubError && (error.failure === "offline" || (error.status ?? 0) >= 500);
}

/**
 * The names of a hub model's files: as the hub lists them, or without network those that the cache has.
 *
 * @throws {HubError} as {@linkcode resolveModelFolder}
 */
export async function listModelFiles(id: string, options: HubOptions = {}): Promise<readonly string[]> {
  const revision = options.revision ?? "main";
  checkRelativePath(revision, `load ${quote(id)}`);
  const cache = await ModelCache.of(options.cacheDir ?? await defaultCacheDir(), id);
  const commit = await cache.commitOf(revision);
  const cached = commit ? await listDirectory(cache.snapshot(commit)) : [];
  if (isOffline(options)) return cached;
  try {
    const connection = await connectHub(options);
    return await lookUpNames(connection, id, await lookUpCommit(connection, id, revision));
  } catch (error) {
    if (isUnreachable(error) && cached.length > 0) return cached;
    throw error;
  }
}

/**
 * {@linkcode resolveModelFolder} for a model's configuration and weights: `config.json`, and `model.safetensors` or all
 * shards that its index lists.
 *
 * @param options `files` and `optionalFiles` are taken in addition.
 * @throws as {@linkcode resolveModelFolder}, and SafetensorsError when the index is not valid.
 */
export async function resolveModelCheckpoint(
  idOrDir: string,
  options: ResolveOptions = {},
): Promise<FolderSource> {
  const files = [CONFIG, ...options.files ?? []];
  const index = "model.safetensors.index.json";
  const optionalFiles = [
    "model.safetensors",
    index,
    "generation_config.json",
    ...options.optionalFiles ?? [],
  ];
  const folder = await resolveModelFolder(idOrDir, { ...options, files, optionalFiles });
  const source = openFolder(folder);
  const single = await source.open("model.safetensors");
  await single?.close();
  const weights = single ? undefined : await readJsonFrom(source, index);
  if (!weights || folder === idOrDir) return source;
  const shards = [...new Set(parseWeightMap(weights, `${folder}/${index}`).values())];
  return openFolder(
    await resolveModelFolder(idOrDir, { ...options, files: [...files, ...shards], optionalFiles }),
  );
}
