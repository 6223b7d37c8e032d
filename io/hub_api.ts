/**
 * What the hub's API is asked, through `@huggingface/hub`: the commit of a revision, and size and hash of files.
 *
 * @module
 */
import { isCommit } from "./hub_cache.ts";
import type { RemoteFile } from "./hub_download.ts";
import { HubError } from "./hub_errors.ts";
import { apiFetch, type HubConnection, isTransient, statusError, waitToRetry } from "./hub_fetch.ts";
import { quote } from "./relative_path.ts";

/** Tries of a call that the server answers with a passing error, and of one that nobody answers. */
const API_TRIES = 5;
const CONNECT_TRIES = 2;

/** How often a call is tried that ends so. */
function triesOf({ failure, status }: HubError): number {
  if (failure === "offline") return CONNECT_TRIES;
  return isTransient(status ?? 0) ? API_TRIES : 1;
}

/** An API call of the hub library, retried, with its errors as {@linkcode HubError}. */
async function callApi<T>(connection: HubConnection, what: string, call: () => Promise<T>): Promise<T> {
  for (let attempt = 0;; attempt++) {
    let error: HubError;
    try {
      return await call();
    } catch (cause) {
      const status = (cause as { statusCode?: unknown } | null)?.statusCode;
      if (cause instanceof HubError) error = cause;
      else if (typeof status === "number") error = statusError(status, what, connection.hubUrl);
      else {
        const reason = cause instanceof Error ? cause.message : String(cause);
        error = new HubError(
          "bad-answer",
          `Cannot download ${what}: the hub's answer is not valid: ${reason}`,
          { cause },
        );
      }
    }
    if (attempt + 1 >= triesOf(error)) throw error;
    await waitToRetry(connection, attempt, undefined);
  }
}

/**
 * The JSON that the hub's API answers to a plain question: where there is no room for `@huggingface/hub`, whose form for
 * browsers brings WebAssembly for uploads.
 *
 * @param path such as `/api/models/gpt2/revision/main`.
 * @param what the model, for messages.
 * @throws {HubError} when the hub does not say.
 */
export async function askHub(connection: HubConnection, path: string, what: string): Promise<unknown> {
  for (let attempt = 0;; attempt++) {
    let retryAfter: string | null = null;
    try {
      const response = await apiFetch(connection)(`${connection.hubUrl}${path}`);
      retryAfter = response.headers.get("Retry-After");
      if (!response.ok) throw statusError(response.status, quote(what), connection.hubUrl);
      return await response.json();
    } catch (cause) {
      if (!(cause instanceof HubError)) {
        throw new HubError(
          "bad-answer",
          `Cannot download ${quote(what)}: the hub's answer is not valid: ${(cause as Error).message}`,
          { cause },
        );
      }
      if (attempt + 1 >= triesOf(cause)) throw cause;
      await waitToRetry(connection, attempt, retryAfter);
    }
  }
}

/**
 * The commit that a revision is at now.
 *
 * @throws {HubError} when the hub does not say.
 */
export async function lookUpCommit(connection: HubConnection, id: string, revision: string): Promise<string> {
  const { modelInfo } = await import("@huggingface/hub");
  const info = await callApi(connection, quote(id), () =>
    modelInfo({
      name: id,
      revision,
      additionalFields: ["sha"],
      hubUrl: connection.hubUrl,
      fetch: apiFetch(connection),
    }));
  if (typeof info.sha === "string" && isCommit(info.sha)) return info.sha;
  throw new HubError(
    "bad-answer",
    `Cannot download ${quote(id)}: a commit of 40 hex digits is required, received ${
      quote(String(info.sha))
    }`,
  );
}

/**
 * Size and hash of those of `paths` that the commit has.
 *
 * @throws {HubError} when the hub does not say.
 */
export async function lookUpFiles(
  connection: HubConnection,
  id: string,
  commit: string,
  paths: string[],
): Promise<Map<string, RemoteFile>> {
  const { pathsInfo } = await import("@huggingface/hub");
  const infos = await callApi(connection, quote(id), () =>
    pathsInfo({
      repo: { type: "model", name: id },
      paths,
      revision: commit,
      hubUrl: connection.hubUrl,
      fetch: apiFetch(connection),
    }));
  const files = new Map<string, RemoteFile>();
  for (const { path, type, size, lfs, oid } of infos) {
    if (type !== "file" || !paths.includes(path)) continue;
    const etag = lfs ? lfs.oid : oid;
    const bytes = lfs ? lfs.size : size;
    const valid = typeof etag === "string" && (lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(etag) &&
      Number.isSafeInteger(bytes) && bytes >= 0;
    if (!valid) {
      throw new HubError(
        "bad-answer",
        `Cannot download ${quote(path)}: a content hash and a size are required, received ${
          quote(String(etag))
        } and ${bytes}`,
      );
    }
    files.set(path, { path, size: bytes, etag });
  }
  return files;
}

/** Files of one model that are listed at most. */
const MAX_NAMES = 1000;

/**
 * The names of the files at the top of a revision, at most 1,000.
 *
 * @throws {HubError} when the hub does not say.
 */
export async function lookUpNames(
  connection: HubConnection,
  id: string,
  revision: string,
): Promise<string[]> {
  const { listFiles } = await import("@huggingface/hub");
  const repo = { type: "model", name: id } as const;
  return await callApi(connection, quote(id), async () => {
    const names: string[] = [];
    for await (
      const { type, path } of listFiles({
        repo,
        revision,
        hubUrl: connection.hubUrl,
        fetch: apiFetch(connection),
      })
    ) {
      if (type === "file" && typeof path === "string") names.push(path);
      if (names.length === MAX_NAMES) break;
    }
    return names;
  });
}
