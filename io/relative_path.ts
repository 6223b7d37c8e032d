/**
 * Names of files that come from outside: shard names in an index, repository file names, adapter subfolders.
 *
 * @module
 */

/** The limit of every common file system, in UTF-8 bytes. */
const MAX_COMPONENT_BYTES = 255;
const MAX_PATH_BYTES = 1024;

/** Device names that Windows resolves in any folder, with any extension. */
const RESERVED = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?$/i;
// deno-lint-ignore no-control-regex -- control characters are what is looked for
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f"*:<>?\\|\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

/**
 * Names that are safe without a closer look: one component of plain characters, which the limits allow and whose first part is
 * too long for a device name.
 */
const PLAIN = /^[\w-]{5,100}(\.[\w-]{1,20}){0,3}$/;

const encoder = new TextEncoder();

/** What `defect` says of a path that is not plain. */
function defectOf(path: string): string | undefined {
  if (path === "") return "an empty name";
  if (!path.isWellFormed()) return "a lone surrogate";
  if (encoder.encode(path).length > MAX_PATH_BYTES) return `more than ${MAX_PATH_BYTES} bytes`;
  if (path.startsWith("/")) return "an absolute path";
  if (/^[a-z]:/i.test(path)) return "a drive";
  if (FORBIDDEN.test(path)) return "a character that file systems do not allow";
  if (/%[0-9a-f]{2}/i.test(path)) return "a percent escape";
  // Full-width and other compatibility forms of "/", "\", ":" and "." turn into the plain ones under normalisation.
  for (const char of path) {
    if (char > "\u007f" && /[./\\:]/.test(char.normalize("NFKC"))) return "a look-alike of a path separator";
  }
  for (const component of path.split("/")) {
    if (component === "") return "an empty component";
    if (component === "." || component === "..") return `the component "${component}"`;
    if (/[. ]$/.test(component)) return "a component that ends with a dot or a space";
    if (component.startsWith(" ") || component.startsWith("~")) {
      return "a component that starts with a space or ~";
    }
    if (RESERVED.test(component)) return `the device name "${component}"`;
    if (encoder.encode(component).length > MAX_COMPONENT_BYTES) {
      return `a component of more than ${MAX_COMPONENT_BYTES} bytes`;
    }
  }
  return undefined;
}

/** Why `path` cannot be taken as a relative path on every system; undefined when it can. */
function defect(path: string): string | undefined {
  return PLAIN.test(path) ? undefined : defectOf(path);
}

/**
 * True when `path` is a relative path with "/" that stays inside its folder on every operating system.
 *
 * @example
 * ```ts
 * import { isSafeRelativePath } from "@peft/webgpu/io";
 *
 * console.log(isSafeRelativePath("model/config.json"), isSafeRelativePath("../secret")); // true false
 * ```
 */
export function isSafeRelativePath(path: string): boolean {
  return defect(path) === undefined;
}

/**
 * Returns `path` when it is safe, on every operating system, to join below a folder.
 *
 * @param action what is being done, for the message: `Cannot <action>: …`.
 * @throws {RangeError} for absolute paths, "..", device names, control characters, look-alikes and over-long names.
 */
export function checkRelativePath(path: string, action: string): string {
  const reason = defect(path);
  if (reason === undefined) return path;
  throw new RangeError(
    `Cannot ${action}: file names must be plain relative paths, received ${quote(path)} with ${reason}`,
  );
}

/** The text in double quotes with control characters escaped, cut after 120 characters: for messages. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}
