/**
 * Flags from a file: YAML or JSON, by the names of the flags.
 * @module
 */

import { checkOptions } from "../options/names.ts";
import { usualName } from "./flag_names.ts";
import { UsageError } from "./usage_error.ts";

/** `loraAlpha` and `lora_alpha` as `lora-alpha`. */
const flagName = (key: string) =>
  key.replaceAll("_", "-").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Whether an item of a list can stand between commas. */
const isItem = (item: unknown) =>
  typeof item === "number" || typeof item === "boolean" || typeof item === "string" && !item.includes(",");

/** The text of the file as a value. YAML includes JSON. @throws {UsageError} for text that is neither */
async function parse(path: string, text: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch { /* YAML, then */ }
  const { parse } = await import("yaml");
  try {
    return parse(text, { maxAliasCount: 100 });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause; // LOG_TOKENS and LOG_STREAM, which the parser reads
    const [reason] = (cause as Error).message.split("\n");
    throw new UsageError(`Cannot read the configuration "${path}": YAML or JSON is required: ${reason}`);
  }
}

/**
 * The values of a configuration file by names of flags. A list stands for its items with commas between, an object for
 * its JSON.
 * @throws {UsageError} for a file that is not one object @throws {TypeError} for a name that is no flag, with the nearest
 */
export async function readConfigFile(
  path: string,
  flags: readonly string[],
): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const reason = cause instanceof Deno.errors.NotFound ? "there is no such file" : (cause as Error).message;
    throw new UsageError(`Cannot read the configuration "${path}": ${reason}`, { cause });
  }
  const value = await parse(path, text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(
      `Cannot read the configuration "${path}": names of flags with their values are required, received ${
        value === null ? "nothing" : Array.isArray(value) ? "a list" : `a ${typeof value}`
      }`,
    );
  }
  const entries = Object.entries(value).map(([key, entry]) => [flagName(key), entry] as const);
  const given = Object.fromEntries(entries);
  const action = `Cannot read the configuration "${path}"`;
  const spelled = new Map<string, string>();
  for (const key of Object.keys(value)) {
    const name = flagName(key);
    const other = spelled.get(name);
    if (other !== undefined) {
      throw new UsageError(`${action}: "${other}" and "${key}" are both --${name}, which may be given once`);
    }
    spelled.set(name, key);
    const meant = flags.includes(name) ? null : usualName(name, flags);
    if (meant) throw new UsageError(`${action}: unknown option "${key}", did you mean "${meant}"?`);
  }
  checkOptions(`read the configuration "${path}"`, given, flags);
  for (const [name, entry] of entries) {
    const bad = Array.isArray(entry) ? entry.find((item) => !isItem(item)) : undefined;
    if (bad === undefined) continue;
    throw new UsageError(
      `${action}: items of "${name}" must be numbers or texts without commas, which part items, received ${
        JSON.stringify(bad)
      }`,
    );
  }
  return Object.fromEntries(
    entries.filter(([, entry]) => entry !== null).map(([name, entry]) => [
      name,
      Array.isArray(entry) ? entry.join(",") : typeof entry === "object" ? JSON.stringify(entry) : entry,
    ]),
  );
}
