/**
 * Flags from a file: YAML or JSON, by the names of the flags.
 * @module
 */

import { meantName } from "../options/names.ts";
import { usualName } from "./flag_names.ts";
import { UsageError } from "../jobs/usage_error.ts";

/** `loraAlpha` and `lora_alpha` as `lora-alpha`. */
const flagName = (key: string) =>
  key.replaceAll("_", "-").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Whether an item of a list can stand between commas. */
const isItem = (item: unknown) =>
  typeof item === "number" || typeof item === "boolean" || typeof item === "string" && !item.includes(",");

/** The text of a file as a value. YAML includes JSON. @throws {UsageError} `Cannot <action>: …` for text that is neither */
async function parse(action: string, text: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch { /* YAML, then */ }
  const { parse } = await import("yaml");
  try {
    return parse(text, { maxAliasCount: 100 });
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause; // LOG_TOKENS and LOG_STREAM, which the parser reads
    const reason = (cause as Error).message.split("\n")[0].replace(/:$/, ""); // what follows shows the place
    throw new UsageError(`Cannot ${action}: YAML or JSON is required: ${reason}`);
  }
}

/**
 * What a file of YAML or JSON holds, which must be one object.
 * @param action such as `read the configuration "a.yaml"` @param wanted what the object holds
 * @throws {UsageError} for a file that is not there, or holds anything else
 */
export async function readYaml(
  action: string,
  path: string,
  wanted: string,
): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    const reason = cause instanceof Deno.errors.NotFound ? "there is no such file" : (cause as Error).message;
    throw new UsageError(`Cannot ${action}: ${reason}`, { cause });
  }
  const value = await parse(action, text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  const received = value === null ? "nothing" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
  throw new UsageError(`Cannot ${action}: ${wanted} are required, received ${received}`);
}

/** What a name that is no flag, or none here, was meant to be, as a message says it. */
function unknownFlag(key: string, flags: readonly string[], elsewhere: readonly string[]): string {
  const name = flagName(key);
  if (elsewhere.includes(name)) return `"${key}" cannot be set here`;
  const all = [...flags, ...elsewhere.filter((flag) => !flags.includes(flag))]; // of two as near, one of this place
  const meant = usualName(name, all) ?? meantName(name, all);
  const unknown = `unknown option ${JSON.stringify(key.slice(0, 100))}`;
  if (meant === null) return `${unknown}, the options are ${flags.map((flag) => `"${flag}"`).join(", ")}`;
  return `${unknown}, did you mean "${meant}"?${flags.includes(meant) ? "" : " That one cannot be set here"}`;
}

/**
 * Values by names of flags, which may be written in any case: a list stands for its items with commas between, an object
 * for its JSON, null for no value.
 * @param elsewhere flags of other places, which cannot be set in this one
 * @returns the values by flags' own names, and what is wrong with the names and lists
 */
export function givenOf(
  object: Readonly<Record<string, unknown>>,
  flags: readonly string[],
  elsewhere: readonly string[] = [],
): { readonly given: Record<string, unknown>; readonly problems: readonly string[] } {
  const given: Record<string, unknown> = {};
  const problems: string[] = [];
  const spelled = new Map<string, string>();
  for (const [key, entry] of Object.entries(object)) {
    const name = flagName(key);
    const other = spelled.get(name);
    spelled.set(name, key);
    if (other !== undefined) {
      problems.push(`"${other}" and "${key}" are both --${name}, which may be given once`);
    } else if (!flags.includes(name)) problems.push(unknownFlag(key, flags, elsewhere));
    else if (Array.isArray(entry) && !entry.every(isItem)) {
      const bad = JSON.stringify(entry.find((item) => !isItem(item)));
      problems.push(
        `items of "${name}" must be numbers or texts without commas, which part items, received ${bad}`,
      );
    } else if (entry !== null) {
      given[name] = Array.isArray(entry)
        ? entry.join(",")
        : typeof entry === "object"
        ? JSON.stringify(entry)
        : entry;
    }
  }
  return { given, problems };
}

/**
 * The values of a configuration file by names of flags.
 * @throws {UsageError} for a file that is not one object, and for a name that is no flag, with the nearest
 */
export async function readConfigFile(
  path: string,
  flags: readonly string[],
): Promise<Record<string, unknown>> {
  const action = `read the configuration "${path}"`;
  const value = await readYaml(action, path, "names of flags with their values");
  const { given, problems: [problem] } = givenOf(value, flags);
  if (problem === undefined) return given;
  throw new UsageError(`Cannot ${action}: ${problem}`);
}
