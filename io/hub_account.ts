/**
 * Who a token belongs to, and the login that this library shares with Python's huggingface_hub: a token in a file of
 * the user's own.
 *
 * @module
 */
import { environment, host } from "./_node.ts";
import { writeFileAtomic } from "./atomic_file.ts";
import { makeDirectory } from "./files.ts";
import { connectHub, type HubOptions } from "./hub.ts";
import { cleanToken, tokenPath } from "./hub_cache.ts";
import { HubError } from "./hub_errors.ts";
import { TOKEN_FORM, uploadFetch } from "./hub_upload.ts";

/**
 * Options of calls that ask the hub who somebody is.
 *
 * @example
 * ```ts
 * import { type AccountOptions, whoAmI } from "@peft/webgpu/hub";
 *
 * const company: AccountOptions = { hubUrl: "https://hub.example.com", token: "hf_…", timeouts: { connectMs: 3000 } };
 * // whether the company's hub knows the token
 * const isKnown = () => whoAmI(company).then(() => true, () => false);
 * ```
 */
export type AccountOptions = Pick<HubOptions, "token" | "hubUrl" | "fetch" | "timeouts">;

/**
 * Whose token it is.
 *
 * @example
 * ```ts
 * import { type Account, whoAmI } from "@peft/webgpu/hub";
 *
 * // what may stand before the slash in names of repositories that a token can make
 * async function owners(token: string): Promise<string[]> {
 *   const { name, organizations, role }: Account = await whoAmI({ token });
 *   return role === "read" ? [] : [name, ...organizations];
 * }
 * ```
 */
export interface Account {
  /** The name that stands before the slash of a repository's name. */
  name: string;
  /** Organisations that it belongs to. */
  organizations: string[];
  /** What the token may do, such as "write"; null where the hub does not say. */
  role: string | null;
}

/**
 * Asks the hub whose the token is: the option's, HF_TOKEN's, or that of the login.
 *
 * @example
 * ```ts ignore
 * import { whoAmI } from "@peft/webgpu/hub";
 *
 * console.log((await whoAmI()).name);
 * ```
 * @throws {HubError} "unauthorized" without a token or for one that the hub does not know, "offline" when nobody answers.
 */
export async function whoAmI(options: AccountOptions = {}): Promise<Account> {
  const connection = await connectHub(options);
  if (connection.token === undefined) {
    throw new HubError(
      "unauthorized",
      "Cannot ask the hub who this is: an access token is required, received none; log in, set HF_TOKEN or pass a token",
    );
  }
  const { whoAmI: ask } = await import("@huggingface/hub");
  try {
    const answer = await ask({
      accessToken: TOKEN_FORM,
      hubUrl: connection.hubUrl,
      fetch: uploadFetch(connection),
    });
    const organizations = answer.type === "user" ? (answer.orgs ?? []).map(({ name }) => name) : [];
    return { name: answer.name, organizations, role: answer.auth?.accessToken?.role ?? null };
  } catch (cause) {
    const status = (cause as { statusCode?: number }).statusCode;
    if (status !== 401 && status !== 403) throw cause;
    throw new HubError(
      "unauthorized",
      `Cannot ask ${connection.hubUrl} who this is: a valid access token is required, received one that the hub does not know (status ${status})`,
      { status, cause },
    );
  }
}

/**
 * Keeps a token where Python's huggingface_hub does (HF_TOKEN_PATH, or `token` in HF_HOME), once the hub has said whose
 * it is. Only the user may read the file.
 *
 * @example
 * ```ts ignore
 * import { login } from "@peft/webgpu/hub";
 *
 * const { name, path } = await login("hf_…");
 * console.log(`${name}: the token is in ${path}`);
 * ```
 *
 * @returns whose token it is, and the file.
 * @throws as {@linkcode whoAmI}; nothing is kept then.
 */
export async function login(
  token: string,
  options: Omit<AccountOptions, "token"> = {},
): Promise<Account & { path: string }> {
  const clean = cleanToken(token);
  if (clean === undefined) throw new TypeError("Cannot log in: an access token is required, received none");
  const account = await whoAmI({ ...options, token: clean });
  const path = await tokenPath();
  const { fs, path: paths } = await host();
  await makeDirectory(paths.dirname(path));
  await writeFileAtomic(path, clean, { mode: 0o600 });
  await fs.chmod(path, 0o600); // a file that existed keeps its permissions
  return { ...account, path };
}

/**
 * Removes the token that {@linkcode login} keeps.
 *
 * @example
 * ```ts ignore
 * import { logout } from "@peft/webgpu/hub";
 *
 * const { removed, path } = await logout();
 * if (removed) console.log(`${path} is removed`);
 * ```
 *
 * @returns whether there was one, and whether HF_TOKEN still gives one.
 */
export async function logout(): Promise<{ path: string; removed: boolean; environment: boolean }> {
  const { fs } = await host();
  const path = await tokenPath();
  const removed = await fs.stat(path).then(() => true, () => false);
  await fs.rm(path, { force: true });
  return { path, removed, environment: environment("HF_TOKEN") !== undefined };
}
