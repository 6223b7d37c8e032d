/**
 * The model cache, in the layout of Python's huggingface_hub so that both share it:
 *
 *     models--org--name/refs/main                 the commit a branch was at
 *     models--org--name/snapshots/<commit>/…      the files, links into blobs
 *     models--org--name/blobs/<etag>              the contents, named by their hash
 *     models--org--name/.no_exist/<commit>/…      files that are known not to be there
 *
 * @module
 */
import { environment, errorCode, host, isNotFound } from "./_node.ts";
import { writeFileAtomic } from "./atomic_file.ts";
import { exists, makeDirectory, readFile } from "./files.ts";

const COMMIT = /^[0-9a-f]{40}$/;

/** True for a full commit hash, which never changes what it names. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/** Hugging Face's home folder: HF_HOME, or `huggingface` in the user's cache folder. */
async function hubHome(): Promise<string> {
  const { path, os } = await host();
  const home = environment("HF_HOME");
  if (home) return home;
  const user = environment("HOME") ?? environment("USERPROFILE") ?? os.homedir();
  return path.join(environment("XDG_CACHE_HOME") ?? path.join(user, ".cache"), "huggingface");
}

/** The cache folder: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, or `hub` in Hugging Face's home folder. */
export async function defaultCacheDir(): Promise<string> {
  const { path } = await host();
  return environment("HF_HUB_CACHE") ?? environment("HUGGINGFACE_HUB_CACHE") ??
    path.join(await hubHome(), "hub");
}

/**
 * A token as it can stand in a header: without line breaks and the white space around it, as Python's huggingface_hub
 * cleans it (`_clean_token`); undefined for one that is empty.
 *
 * @throws {RangeError} for any other character that no header may hold; the message does not show the token.
 */
export function cleanToken(token: string): string | undefined {
  const clean = token.replaceAll(/[\r\n]/g, "").trim();
  if (/^[\x21-\x7e]*$/.test(clean)) return clean || undefined;
  throw new RangeError(
    "Cannot use the hub's access token: printable ASCII characters without spaces are required, received others; " +
      "check HF_TOKEN, the stored login, or the token option",
  );
}

/** The file of the user's login: HF_TOKEN_PATH, or `token` in Hugging Face's home folder. */
export async function tokenPath(): Promise<string> {
  const { path } = await host();
  return environment("HF_TOKEN_PATH") ?? path.join(await hubHome(), "token");
}

/** The user's access token: HF_TOKEN, or the file that `hf auth login` writes; undefined when there is none. */
export async function storedToken(): Promise<string | undefined> {
  const variable = environment("HF_TOKEN");
  if (variable) return variable;
  try {
    const bytes = await readFile(await tokenPath(), { maxBytes: 4096 });
    return new TextDecoder().decode(bytes);
  } catch {
    return undefined; // not logged in, or no permission to look
  }
}

/** One model's part of the cache. */
export class ModelCache {
  /** `models--org--name`. */
  readonly folder: string;
  #path: Awaited<ReturnType<typeof host>>["path"];
  #fs: Awaited<ReturnType<typeof host>>["fs"];

  private constructor(folder: string, modules: Awaited<ReturnType<typeof host>>) {
    this.folder = folder;
    this.#path = modules.path;
    this.#fs = modules.fs;
  }

  /** The part of `cacheDir` for a model id that has been checked. */
  static async of(cacheDir: string, id: string): Promise<ModelCache> {
    const modules = await host();
    return new ModelCache(modules.path.join(cacheDir, `models--${id.replace("/", "--")}`), modules);
  }

  /** Path of a blob. */
  blob(etag: string): string {
    return this.#path.join(this.folder, "blobs", etag);
  }

  /** Path of a snapshot. */
  snapshot(commit: string): string {
    return this.#path.join(this.folder, "snapshots", commit);
  }

  /** The commit that a revision was at when it was last looked up; undefined when it never was. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    try {
      const bytes = await readFile(this.#path.join(this.folder, "refs", revision), { maxBytes: 1024 });
      const commit = new TextDecoder().decode(bytes).trim();
      return isCommit(commit) ? commit : undefined;
    } catch (error) {
      if (error instanceof Error && isNotFound(error.cause)) return undefined;
      throw error;
    }
  }

  /** Records that a revision is at a commit. */
  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const ref = this.#path.join(this.folder, "refs", revision);
    await makeDirectory(this.#path.dirname(ref));
    await writeFileAtomic(ref, commit);
  }

  /** Those of `files` that the snapshot lacks. */
  async missing(commit: string, files: readonly string[]): Promise<string[]> {
    const missing: string[] = [];
    for (const file of files) {
      if (!await exists(this.#path.join(this.snapshot(commit), file))) missing.push(file);
    }
    return missing;
  }

  /** True when it was recorded that the commit has no such file. */
  async isKnownAbsent(commit: string, file: string): Promise<boolean> {
    return await exists(this.#path.join(this.folder, ".no_exist", commit, file));
  }

  /** Records that the commit has no such file. */
  async setAbsent(commit: string, file: string): Promise<void> {
    const marker = this.#path.join(this.folder, ".no_exist", commit, file);
    await makeDirectory(this.#path.dirname(marker));
    await writeFileAtomic(marker, "");
  }

  /** Puts a blob into a snapshot: a relative link, or a copy where the system allows no links. */
  async link(commit: string, file: string, etag: string): Promise<void> {
    const target = this.#path.join(this.snapshot(commit), file);
    await makeDirectory(this.#path.dirname(target));
    const relative = this.#path.relative(this.#path.dirname(target), this.blob(etag));
    if (await this.#fs.readlink(target).catch(() => undefined) === relative) return;
    await this.#fs.rm(target, { force: true });
    try {
      await this.#fs.symlink(relative, target);
    } catch (error) {
      if (errorCode(error) !== "EEXIST") await this.#fs.copyFile(this.blob(etag), target);
    }
  }
}
