/**
 * Pushing files to the hub: one commit of everything that a `savePretrained` writes, as `push_to_hub` of transformers
 * makes it. Large files go up first, by Git LFS; the commit names them all at once, so that a push that is cut off
 * changes nothing, and a push that is repeated sends only what the hub does not have yet.
 *
 * @module
 */
import type { CommitOperation } from "@huggingface/hub";
import { checkOptions } from "../options/names.ts";
import { isDirectory } from "./files.ts";
import { type FolderOutput, openTarget } from "./folder_target.ts";
import { connectHub, type HubOptions, isOffline } from "./hub.ts";
import { isHubId } from "./hub_id.ts";
import { HubError } from "./hub_errors.ts";
import type { HubConnection } from "./hub_fetch.ts";
import { TOKEN_FORM, uploadFetch } from "./hub_upload.ts";
import { addTags, joinCard, setKey, splitCard } from "./model_card.ts";
import { makeWorkplace } from "./push_workplace.ts";
import { quote } from "./relative_path.ts";

/**
 * Options of every `pushToHub`.
 *
 * @example
 * ```ts
 * import type { PeftModel } from "@peft/webgpu";
 * import type { PushToHubOptions } from "@peft/webgpu/hub";
 *
 * const options: PushToHubOptions = { private: true, commitMessage: "After two epochs", tags: ["pirate"] };
 * // offers an adapter to the owner of a repository
 * const propose = (model: PeftModel, repoId: string) => model.pushToHub(repoId, { ...options, createPr: true });
 * ```
 */
export interface PushToHubOptions extends Pick<HubOptions, "token" | "hubUrl" | "fetch" | "timeouts"> {
  /** First line of the commit; default "Upload model" or "Upload tokenizer". */
  commitMessage?: string;
  /** Text below it. */
  commitDescription?: string;
  /** Whether a new repository is private; default what the owner's settings say. One that exists stays as it is. */
  private?: boolean;
  /** Branch, made where there is none; default "main". */
  revision?: string;
  /** Open a pull request instead of committing to the branch. Default false. */
  createPr?: boolean;
  /** Tags that the model card gets beside those it has. */
  tags?: readonly string[];
  /** Only safetensors files are written: `false`, which asks for pickle files, is refused. */
  safeSerialization?: boolean;
  /** Called as files are hashed and sent: the part of a file that is done, from 0 to 1. */
  onUpload?: (progress: { file: string; state: "hashing" | "uploading"; part: number }) => void;
  /** Ends the push; nothing is committed then. */
  signal?: AbortSignal;
}

/** Names of {@linkcode PushToHubOptions}. */
const PUSH_OPTIONS = [
  "token",
  "hubUrl",
  "fetch",
  "timeouts",
  "commitMessage",
  "commitDescription",
  "private",
  "revision",
  "createPr",
  "tags",
  "safeSerialization",
  "onUpload",
  "signal",
] as const satisfies readonly (keyof PushToHubOptions)[];

/** The model card. */
const CARD = "README.md";

/**
 * What a push made: `CommitInfo` of Python's huggingface_hub.
 *
 * @example
 * ```ts
 * import { type CommitInfo, uploadFolder } from "@peft/webgpu/hub";
 *
 * // pushes a folder and returns the page on which to see what became of it
 * async function publish(repoId: string, folder: string): Promise<string> {
 *   const { prUrl, commitUrl }: CommitInfo = await uploadFolder(repoId, folder);
 *   return prUrl ?? commitUrl;
 * }
 * ```
 */
export interface CommitInfo {
  /** The repository with its owner: "org/name". */
  repoId: string;
  /** Its page. */
  repoUrl: string;
  /** The commit's page. */
  commitUrl: string;
  /** The commit: 40 hex digits. */
  oid: string;
  /** First line of the commit. */
  commitMessage: string;
  /** The pull request's page; null without `createPr`. */
  prUrl: string | null;
}

/** What is pushed. */
export interface Pushed {
  /** What the default commit message calls it. */
  readonly kind: "model" | "tokenizer" | "folder";
  /** Options that `save` takes from those of the push. */
  readonly saveOptions?: readonly string[];
  /** Writes its files into a folder of the push. @param own those of the push's options that `saveOptions` names */
  save?(folder: FolderOutput, own: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Where they lie on disk, in place of `save`. */
  readonly folder?: string;
}

/** What a call of the hub library failed with, for a user. */
function pushError(cause: unknown, id: string): unknown {
  const what = `Cannot push to ${quote(id)}`;
  const { statusCode: status, data } = (cause ?? {}) as {
    statusCode?: number;
    data?: { error?: unknown; message?: unknown };
  };
  if (cause instanceof HubError) {
    const reason = cause.message.replace(/^Cannot [^:]*: /, "");
    return cause.failure === "offline"
      ? new HubError("offline", `${what}: the hub must answer, received no answer (${reason}); push again`, {
        cause,
      })
      : cause;
  }
  if (typeof status !== "number") return cause;
  const text = String(data?.error ?? data?.message ?? "").replaceAll(/\s+/g, " ").trim().slice(0, 300);
  const said = text === "" ? `status ${status}` : `status ${status}: ${text}`;
  if (status === 401 || status === 403) {
    return new HubError(
      "unauthorized",
      `${what}: a token that may write there is required, received one that may not (${said}); ` +
        "log in, set HF_TOKEN or pass a token",
      { status, cause },
    );
  }
  if (status === 404) {
    return new HubError(
      "not-found",
      `${what}: a repository and branch are required, received none (${said})`,
      {
        status,
        cause,
      },
    );
  }
  return new HubError("status", `${what}: status 200 is required, received ${said}`, { status, cause });
}

/** Calls the hub library. @throws {HubError} */
async function call<T>(id: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    throw pushError(cause, id);
  }
}

/** The repository's name with its owner, who is the token's where none is given. */
async function fullName(connection: HubConnection, id: string): Promise<string> {
  if (id.includes("/")) return id;
  const { whoAmI } = await import("@huggingface/hub");
  const { name } = await call(
    id,
    () => whoAmI({ accessToken: TOKEN_FORM, hubUrl: connection.hubUrl, fetch: uploadFetch(connection) }),
  );
  return `${name}/${id}`;
}

/** The text of the card that the repository has; undefined where it has none. */
async function readCard(
  connection: HubConnection,
  id: string,
  revision: string,
): Promise<string | undefined> {
  const response = await call(id, () =>
    uploadFetch(connection)(
      `${connection.hubUrl}/${id}/resolve/${encodeURIComponent(revision)}/${CARD}`,
    ));
  return response.ok ? await response.text() : undefined;
}

/** Makes the repository and the branch where there are none; whether the repository was there. */
async function makePlace(connection: HubConnection, id: string, options: PushToHubOptions): Promise<boolean> {
  const { createBranch, createRepo, repoExists } = await import("@huggingface/hub");
  const repo = { type: "model", name: id } as const;
  const shared = { repo, hubUrl: connection.hubUrl, fetch: uploadFetch(connection) };
  const statusOf = (error: unknown) => (error as { statusCode?: number } | null)?.statusCode;
  let existed = false;
  await call(id, async () => {
    try {
      await createRepo({ ...shared, accessToken: TOKEN_FORM, private: options.private });
    } catch (error) {
      const status = statusOf(error);
      existed = status === 409 || status === 403 && await repoExists(shared);
      if (!existed) throw error;
    }
  });
  const branch = options.revision ?? "main";
  if (branch === "main" || branch.startsWith("refs/")) return existed;
  await call(id, () =>
    createBranch({ ...shared, branch }).catch((error) => {
      const status = statusOf(error);
      if (status !== 409 && !(status === 403 && options.createPr)) throw error;
    }));
  return existed;
}

/** A card completed: with tags, the library of a model that says none, and no base model that the hub would refuse. */
function finishCard(
  written: string | undefined,
  kind: Pushed["kind"],
  id: string,
  tags: readonly string[],
): string | undefined {
  if (written === undefined && kind !== "model" && tags.length === 0) return undefined;
  const { yaml, body } = splitCard(written ?? `# ${id.split("/")[1]}\n`);
  let facts = addTags(yaml, tags);
  if (!/^library_name:/m.test(facts) && kind === "model") {
    facts = setKey(facts, "library_name", "transformers");
  }
  const base = /^base_model:[ \t]*(?:"([^"\n]*)"|(\S[^\n]*?))[ \t]*(?:\n|$)/m.exec(facts);
  if (base && !isHubId(base[1] ?? base[2])) facts = facts.replace(base[0], "");
  return joinCard({ yaml: facts.trimEnd(), body });
}

function checkPush(repoId: string, options: PushToHubOptions, saveOptions: readonly string[]): void {
  checkOptions("push to the hub", options, [...PUSH_OPTIONS, ...saveOptions]);
  if (typeof repoId !== "string" || !isHubId(repoId)) {
    throw new TypeError(
      `Cannot push to the hub: the name of a repository such as "name" or "org/name" is required, received ${
        quote(String(repoId))
      }`,
    );
  }
  if (options.safeSerialization === false) {
    throw new RangeError(
      "Cannot push to the hub: safeSerialization must be true, received false; pickle files are never written",
    );
  }
  const { tags = [] } = options;
  if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === "string" && tag.trim() !== "")) {
    throw new TypeError(
      `Cannot push to the hub: tags must be a list of texts, received ${JSON.stringify(tags)}`,
    );
  }
}

/** A connection that may write. @throws {HubError} without a token, and offline */
async function connectToWrite(id: string, options: PushToHubOptions): Promise<HubConnection> {
  const what = `Cannot push to ${quote(id)}`;
  if (isOffline({})) {
    throw new HubError("offline", `${what}: the network is required, received HF_HUB_OFFLINE; unset it`);
  }
  const connection = await connectHub(options);
  if (connection.token !== undefined) return connection;
  throw new HubError(
    "unauthorized",
    `${what}: an access token is required, received none; log in, set HF_TOKEN or pass a token`,
  );
}

/**
 * Saves into a folder of its own and pushes that to a repository of the hub, which is made where there is none. The
 * card that the repository has is kept: what is saved updates its own part of it.
 *
 * @param repoId "org/name"; the owner of the token is the organisation of a plain "name".
 * @throws {TypeError} {RangeError} for a name or an option that is wrong, before anything is asked
 * @throws {HubError} "unauthorized" without a token or for one that may not write; "offline" when nobody answers;
 * "status" for any other refusal, with the hub's words. The repository is then as it was
 */
export async function pushToHub(
  repoId: string,
  options: PushToHubOptions,
  pushed: Pushed,
): Promise<CommitInfo> {
  checkPush(repoId, options, pushed.saveOptions ?? []);
  const connection = await connectToWrite(repoId, options);
  const id = await fullName(connection, repoId);
  const { revision = "main", commitMessage = `Upload ${pushed.kind}`, signal } = options;
  const existed = await makePlace(connection, id, options);
  const place = await makeWorkplace(pushed.folder);
  try {
    const target = openTarget(place.output, "push to the hub");
    if (existed && pushed.save) {
      const card = await readCard(connection, id, revision);
      if (card !== undefined) await target.write(CARD, card);
    }
    const own = Object.entries(options).filter(([name]) => pushed.saveOptions?.includes(name));
    await pushed.save?.(place.output, Object.fromEntries(own));
    signal?.throwIfAborted();
    const card = finishCard(await target.readText(CARD), pushed.kind, id, options.tags ?? []);
    const files = (await place.files()).filter(({ path }) => path !== CARD);
    if (card !== undefined) files.push({ path: CARD, content: new Blob([card]) });
    if (files.length === 0) {
      throw new Error(`Cannot push to ${quote(id)}: a folder with files is required, received an empty one`);
    }
    const operations = files.map((file): CommitOperation => ({ operation: "addOrUpdate", ...file }));
    const made = await call(id, () => commitAll(connection, id, operations, { ...options, commitMessage }));
    return {
      repoId: id,
      repoUrl: `${connection.hubUrl}/${id}`,
      commitUrl: made.commit.url,
      oid: made.commit.oid,
      commitMessage,
      prUrl: made.pullRequestUrl ?? null,
    };
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    await place.remove();
  }
}

/**
 * Pushes a folder on disk as it is to a repository of the hub, which is made where there is none: a model or an adapter
 * that `savePretrained` or Python wrote. Hidden files and a training's checkpoints stay.
 *
 * @example
 * ```ts ignore
 * import { uploadFolder } from "@peft/webgpu/hub";
 *
 * const { commitUrl } = await uploadFolder("me/pirate-lora", "out/adapter", { private: true });
 * ```
 * @throws as {@linkcode pushToHub}, and Error where there is no such folder.
 */
export async function uploadFolder(
  repoId: string,
  folder: string,
  options: PushToHubOptions = {},
): Promise<CommitInfo> {
  if (!await isDirectory(folder)) {
    throw new Error(
      `Cannot push to the hub: a folder is required, received ${quote(folder)}, where there is none`,
    );
  }
  return await pushToHub(repoId, options, { kind: "folder", folder });
}

/** One commit of all files; reports the progress of each. */
async function commitAll(
  connection: HubConnection,
  id: string,
  operations: CommitOperation[],
  options: PushToHubOptions & { commitMessage: string },
): Promise<{ commit: { oid: string; url: string }; pullRequestUrl?: string }> {
  const { commitIter } = await import("@huggingface/hub");
  const steps = commitIter({
    repo: { type: "model", name: id },
    operations,
    title: options.commitMessage,
    description: options.commitDescription,
    branch: options.revision ?? "main",
    isPullRequest: options.createPr ?? false,
    accessToken: TOKEN_FORM,
    hubUrl: connection.hubUrl,
    fetch: uploadFetch(connection),
    abortSignal: options.signal,
    useXet: false,
  });
  for (;;) {
    const { done, value } = await steps.next();
    if (done) {
      if (value) return value;
      throw new HubError("bad-answer", `Cannot push to ${quote(id)}: a commit is required, received none`);
    }
    if (value.event !== "fileProgress" || value.state === "error") continue;
    options.onUpload?.({ file: value.path, state: value.state, part: value.progress });
  }
}
