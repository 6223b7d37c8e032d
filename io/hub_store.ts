/**
 * Models of the hub in a {@linkcode FolderStore}: what a page does in place of Python's cache. Files are downloaded once,
 * continued after a break, and checked by the hashes that the hub gives.
 *
 * @module
 */
import type { FolderSource } from "./file_source.ts";
import type { FolderStore } from "./folder_store.ts";
import { isGgufName } from "./gguf_names.ts";
import type { HubOptions } from "./hub.ts";
import { isHubId } from "./hub_id.ts";
import { askHub } from "./hub_api.ts";
import { cleanToken, isCommit } from "./hub_cache.ts";
import { HubError } from "./hub_errors.ts";
import type { HubConnection } from "./hub_fetch.ts";
import { downloadFile, type RemoteFile } from "./hub_transfer.ts";
import { readJsonFrom } from "./json.ts";
import { isSafeRelativePath, quote } from "./relative_path.ts";

/**
 * Options of {@linkcode storeHubModel}.
 *
 * @example
 * ```ts
 * import { type FolderStore, storeHubModel, type StoreHubOptions } from "@peft/webgpu/hub";
 *
 * const options: StoreHubOptions = {
 *   checkBytes: (bytes) => {
 *     if (bytes > 1e9) throw new RangeError(`${bytes} bytes are more than this page keeps`);
 *   },
 *   onProgress: ({ file, loadedBytes, totalBytes }) => console.log(file, loadedBytes / totalBytes),
 * };
 * const download = (store: FolderStore) => storeHubModel("HuggingFaceTB/SmolLM2-135M-Instruct", store, options);
 * ```
 */
export interface StoreHubOptions
  extends Pick<HubOptions, "revision" | "token" | "hubUrl" | "fetch" | "onProgress" | "timeouts"> {
  /** The GGUF file to take of several, such as "model-Q4_K_M.gguf". */
  ggufFile?: string;
  /** Called with the bytes of all files before any of them is downloaded; may refuse by throwing. */
  checkBytes?: (bytes: number) => void;
  /** Ends the download; what arrived is kept, and the next call goes on from there. */
  signal?: AbortSignal;
}

/**
 * A model that is in a store.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { type FolderStore, type StoredHubModel, storeHubModel } from "@peft/webgpu/hub";
 *
 * // loads a model that a store keeps; downloads what it lacks
 * async function loadKept(id: string, store: FolderStore) {
 *   const { folder, ggufFile }: StoredHubModel = await storeHubModel(id, store.folder(id.replace("/", "--")));
 *   return await AutoModelForCausalLM.fromPretrained(folder, ggufFile === null ? {} : { ggufFile });
 * }
 * ```
 */
export interface StoredHubModel {
  /** Its files, whole and checked. */
  readonly folder: FolderSource;
  /** Its GGUF file, where it is one. */
  readonly ggufFile: string | null;
  /** The commit that they are of. */
  readonly commit: string;
}

/** What is noted beside the files. */
interface Notes {
  /** What was asked for: a branch, tag or commit. */
  readonly revision: string;
  /** The commit that it was at. */
  readonly commit: string;
  /** Whole files: their hashes and sizes. */
  readonly files: Readonly<Record<string, { readonly etag: string; readonly size: number }>>;
  /** Hashes of those that are on the way. */
  readonly parts: Readonly<Record<string, string>>;
  readonly ggufFile: string | null;
}

const NOTES = "hub.json";
const HUB_URL = "https://huggingface.co";
/** Names that a message lists. */
const MOST_NAMES = 12;

/** Files that a checkpoint in Hugging Face's layout is read from, beside its weights. */
const SMALL_FILES: ReadonlySet<string> = new Set([
  ...["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json"],
  ...["merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"],
  ...["chat_template.json", "model.safetensors.index.json"],
]);
const WEIGHTS = /^model(-\d+-of-\d+)?\.safetensors$/;

function refuse(failure: "not-found" | "bad-answer", id: string, problem: string): never {
  throw new HubError(failure, `Cannot download ${quote(id)}: ${problem}`);
}

/** The commit that a revision is at now. */
async function readCommit(connection: HubConnection, id: string, revision: string): Promise<string> {
  const path = `/api/models/${id}/revision/${encodeURIComponent(revision)}`;
  const { sha } = await askHub(connection, path, id) as { sha?: unknown };
  if (typeof sha === "string" && isCommit(sha)) return sha;
  return refuse("bad-answer", id, `a commit of 40 hex digits is required, received ${quote(String(sha))}`);
}

/** The files at the top of a commit. */
async function readTree(connection: HubConnection, id: string, commit: string): Promise<RemoteFile[]> {
  const answer = await askHub(connection, `/api/models/${id}/tree/${commit}`, id);
  if (!Array.isArray(answer)) return refuse("bad-answer", id, "a list of files is required, received none");
  return answer.flatMap((entry): RemoteFile[] => {
    const { type, path, size, oid, lfs } = entry as Record<string, unknown>;
    if (type !== "file" || typeof path !== "string" || !isSafeRelativePath(path)) return [];
    const large = lfs as { oid?: unknown; size?: unknown } | undefined;
    const [etag, bytes] = large ? [large.oid, large.size] : [oid, size];
    const valid = typeof etag === "string" && (large ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(etag) &&
      Number.isSafeInteger(bytes) && (bytes as number) >= 0;
    return valid ? [{ path, size: bytes as number, etag: etag as string }] : [];
  });
}

/** The files that are needed of a model. */
function choose(
  id: string,
  files: readonly RemoteFile[],
  wanted: string | undefined,
): { chosen: RemoteFile[]; ggufFile: string | null } {
  if (wanted !== undefined) {
    const file = files.find(({ path }) => path === wanted);
    if (file) return { chosen: [file], ggufFile: wanted };
    return refuse("not-found", id, `${quote(wanted)} is required, and the model has no such file`);
  }
  const weights = files.filter(({ path }) => WEIGHTS.test(path));
  if (files.some(({ path }) => path === "config.json") && weights.length > 0) {
    const small = files.filter(({ path }) => SMALL_FILES.has(path));
    return { chosen: [...small, ...weights], ggufFile: null };
  }
  const ggufs = files.filter(({ path }) => isGgufName(path));
  if (ggufs.length === 1) return { chosen: ggufs, ggufFile: ggufs[0].path };
  if (ggufs.length > 1) {
    const names = ggufs.slice(0, MOST_NAMES).map(({ path }) => quote(path)).join(", ");
    throw new RangeError(
      `Cannot load model ${quote(id)}: ggufFile must name one of its ${ggufs.length} GGUF files, ${names}${
        ggufs.length > MOST_NAMES ? ", …" : ""
      }`,
    );
  }
  const pickle = files.some(({ path }) => /\.bin$/.test(path));
  return refuse(
    "not-found",
    id,
    `model.safetensors or a GGUF file is required, and the model has ${
      pickle ? "pickle files, which are never opened" : "neither"
    }`,
  );
}

/** The folder of what is whole. */
function folderOf(store: FolderStore, id: string, { files, ggufFile, commit }: Notes): StoredHubModel {
  const names = Object.keys(files);
  const folder: FolderSource = {
    name: id,
    open: (path) => names.includes(path) ? store.open(path) : Promise.resolve(undefined),
    list: () => Promise.resolve(names.filter((path) => !path.includes("/"))),
  };
  return { folder, ggufFile, commit };
}

/** True where the hub could not be reached, or answered that it cannot serve now. */
const isUnreachable = (error: unknown) =>
  error instanceof HubError && (error.failure === "offline" || (error.status ?? 0) >= 500);

/** Whether every file is there of what is asked for. */
function isWhole(notes: Notes, revision: string, wanted: string | undefined): boolean {
  return Object.keys(notes.parts).length === 0 && Object.keys(notes.files).length > 0 &&
    [notes.revision, notes.commit].includes(revision) && (wanted ?? notes.ggufFile) === notes.ggufFile;
}

/**
 * Downloads a model of the hub into a store: its checkpoint in Hugging Face's layout with tokenizer, or its GGUF file.
 * What is there already is not asked for again, and files of an earlier commit that are not needed are removed; without
 * network, a model that is whole is used as it is.
 *
 * @example
 * ```ts ignore
 * const store = handleStore(await navigator.storage.getDirectory()).folder("smollm2");
 * const { folder } = await storeHubModel("HuggingFaceTB/SmolLM2-135M-Instruct", store);
 * const model = await AutoModelForCausalLM.fromPretrained(folder);
 * ```
 * @param id such as "org/name".
 * @param store a folder for this model alone.
 * @throws {HubError} `failure` says why @throws {RangeError} for what is no hub id, and for several GGUF files without
 * `ggufFile` @throws {Error} where the store cannot be written
 */
export async function storeHubModel(
  id: string,
  store: FolderStore,
  options: StoreHubOptions = {},
): Promise<StoredHubModel> {
  if (!isHubId(id)) {
    throw new RangeError(`Cannot download ${quote(id)}: a hub id such as "org/name" is required`);
  }
  const { revision = "main", ggufFile: wanted } = options;
  const connection: HubConnection = {
    hubUrl: (options.hubUrl ?? HUB_URL).replace(/\/+$/, ""),
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    token: cleanToken(options.token ?? ""),
    timeouts: { connectMs: 10_000, stallMs: 30_000, retryMs: 500, ...options.timeouts },
  };
  const before = await readJsonFrom(store, NOTES).catch(() => undefined) as unknown as Notes | undefined;
  let commit: string;
  let files: RemoteFile[];
  try {
    commit = isCommit(revision) ? revision : await readCommit(connection, id, revision);
    files = await readTree(connection, id, commit);
  } catch (error) {
    if (isUnreachable(error) && before && isWhole(before, revision, wanted)) {
      return folderOf(store, id, before);
    }
    throw error;
  }
  const { chosen, ggufFile } = choose(id, files, wanted);
  options.checkBytes?.(chosen.reduce((sum, { size }) => sum + size, 0));
  const whole = Object.fromEntries(
    chosen.flatMap(({ path, etag, size }) =>
      before?.files?.[path]?.etag === etag ? [[path, { etag, size }]] : []
    ),
  );
  const parts = Object.fromEntries(
    chosen.filter(({ path }) => !(path in whole)).map((file) => [file.path, file.etag]),
  );
  let notes: Notes = { revision, commit, ggufFile, files: whole, parts };
  const write = () => store.write(NOTES, `${JSON.stringify(notes)}\n`);
  await write(); // before anything is removed: else a file that is gone would count as whole
  for (const path of Object.keys({ ...before?.files, ...before?.parts, ...parts })) {
    const isKept = path in whole || path in parts && before?.parts?.[path] === parts[path];
    if (!isKept) await store.remove(path); // of another commit, or no longer needed
  }
  for (const file of chosen) {
    const { path, etag, size } = file;
    if (path in whole) continue;
    const url = `${connection.hubUrl}/${id}/resolve/${commit}/${
      path.split("/").map(encodeURIComponent).join("/")
    }`;
    const target = await store.update(path);
    try {
      await downloadFile(connection, url, file, target, options.onProgress, options.signal);
    } finally {
      await target.close();
    }
    const { [path]: _, ...left } = notes.parts;
    notes = { ...notes, files: { ...notes.files, [path]: { etag, size } }, parts: left };
    await write();
  }
  return folderOf(store, id, notes);
}
