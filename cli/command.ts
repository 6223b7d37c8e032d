/**
 * What a command is: its flags as a table, from which parsing, checks and `--help` all come.
 * @module
 */

import { parseArgs } from "node:util";
import { flag, problemWith, type Rule, text } from "../options/rules.ts";
import { meantName } from "../options/names.ts";
import { usualName } from "./flag_names.ts";
import { readConfigFile } from "./config_file.ts";
import { UsageError } from "./usage_error.ts";

export { UsageError };

/** One flag: the rule for its value, as in every table of options (`options/rules.ts`), and what the help text says. */
export interface Flag<T = unknown> {
  readonly rule: Rule<T>;
  /** What it means; the default is added by `--help`. */
  readonly help: string;
  readonly default?: T;
  /** Whether it must be given. */
  readonly required?: boolean;
  /** A switch without which this flag would be ignored: giving it alone is a mistake. */
  readonly needs?: string;
}

/** Flags by name, without the dashes. */
export type Flags = Readonly<Record<string, Flag>>;

/** Type of a flag's value; undefined where it is neither required nor has a default. A switch is false by default. */
type ValueOf<F extends Flag> =
  | (F["rule"] extends Rule<infer T> ? T : never)
  | (F extends { required: true } ? never
    : F extends { default: string | number | boolean } ? never
    : F extends Flag<boolean> ? never
    : undefined);

/** Checked values of a command's flags. */
export type Values<F extends Flags> = { readonly [Name in keyof F]: ValueOf<F[Name]> };

/** Flags that every command has. */
export const COMMON_FLAGS = {
  config: { rule: text, help: "YAML or JSON file with values of these flags; those given here come first" },
  json: { rule: flag, help: "Print the result as one JSON object; what is said on the way goes to stderr" },
} as const;

/** A command. */
export interface Command<F extends Flags = Flags> {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  readonly flags: F;
  /** The flag whose value may also stand without its name, right after the command's. */
  readonly positional?: string;
  /** Lines of examples. */
  readonly examples: readonly string[];
  /** The least that `deno run` must allow it where models lie in folders, as its flags. */
  readonly permissions: readonly string[];
  /** What `--json` prints; what it says on the way goes to `console.log`. */
  run(values: Values<F> & Values<typeof COMMON_FLAGS>): Promise<object | void>;
}

/** Every flag of a command. */
export function flagsOf(command: Command): Flags {
  return { ...command.flags, ...COMMON_FLAGS };
}

/** Text of `--help`. */
export function helpText(command: Command): string {
  const rows = Object.entries(flagsOf(command)).map(([name, flag]): [string, string] => {
    const note = flag.required
      ? " (required)"
      : flag.default === undefined || flag.rule.from === "switch"
      ? ""
      : ` [${flag.default}]`;
    return [`  --${name}${placeholder(flag)}`, flag.help + note];
  });
  rows.push(["  --help", "Show this text"]);
  const width = Math.min(34, Math.max(...rows.map(([left]) => left.length)) + 2);
  const lines = rows.map(([left, right]) =>
    left.length < width ? left.padEnd(width) + right : `${left}\n${" ".repeat(width)}${right}`
  );
  return [
    `${command.summary}`,
    "",
    `Usage: ./run ${command.name} ${command.positional ? `<${command.positional}> ` : ""}[flags]`,
    "",
    ...lines,
    "",
    "Examples:",
    ...command.examples.map((line) => `  ${line}`),
    "",
    "Permissions, where Deno is asked for them one by one (./run allows all; models of the hub need --allow-net and",
    "--allow-env, and --allow-write for their cache; a --config in YAML needs --allow-env=LOG_TOKENS,LOG_STREAM, which",
    "its parser reads):",
    `  deno run ${[...command.permissions, "cli/main.ts", command.name].join(" ")} …`,
  ].join("\n");
}

/** What follows a flag in the help text: ` <integer>`, ` <float32|float16>`, nothing for a switch. */
function placeholder({ rule: { from, choices } }: Flag): string {
  return from === "switch" ? "" : ` <${choices?.join("|") ?? from ?? "text"}>`;
}

/** A flag's value from the text that was given, or what is wrong with it. */
function readValue(name: string, { rule }: Flag, given: unknown): { value: unknown; problem: string | null } {
  const isNumber = rule.from === "number" || rule.from === "integer";
  const isText = rule.from === undefined && typeof given === "number"; // a file's `output: 5`
  const value = isNumber && String(given).trim() !== "" ? Number(given) : isText ? String(given) : given;
  return { value, problem: problemWith(rule, `--${name}`, Number.isNaN(value) ? given : value) };
}

type Given = Readonly<Record<string, unknown>>;

/** The flags of `args` as they were given. @throws {UsageError} for unknown ones */
function parseGiven(command: Command, args: string[]): Given {
  const options: Record<string, { type: "string" | "boolean" }> = { help: { type: "boolean" } };
  const switches: string[] = [];
  for (const [name, flag] of Object.entries(flagsOf(command))) {
    const isSwitch = flag.rule.from === "switch";
    options[name] = { type: isSwitch ? "boolean" : "string" };
    if (isSwitch) switches.push(name);
  }
  for (const name of switches) options[`no-${name}`] = { type: "boolean" };
  try {
    const { positional } = command;
    const isNamed = positional === undefined || args[0] === undefined || args[0].startsWith("-");
    const named = isNamed ? args : [`--${positional}`, ...args];
    const given: Record<string, unknown> =
      parseArgs({ args: named, options, strict: true, allowPositionals: false }).values;
    for (const name of switches) if (given[`no-${name}`]) given[name] = false; // over a configuration's true
    return given;
  } catch (error) {
    const reason = (error as Error).message.split(".")[0];
    const [, wrong = ""] = /^Unknown option '--([\w-]+)'/.exec(reason) ?? [];
    const names = Object.keys(options).filter((name) => !name.startsWith("no-"));
    const meant = usualName(wrong.replaceAll("_", "-"), names) ?? meantName(wrong, names);
    if (wrong !== "" && meant !== null) {
      throw new UsageError(
        `Cannot run ${command.name}: ${reason}, did you mean '--${meant}'?; see ${command.name} --help`,
      );
    }
    throw new UsageError(`Cannot run ${command.name}: ${reason}; see ${command.name} --help`);
  }
}

const givenNames = new WeakMap<object, ReadonlySet<string>>();

/** Names of the flags that were given, here or in a file of `--config`; switches that are off count as not given. */
export function givenFlags(values: object): ReadonlySet<string> {
  return givenNames.get(values) ?? new Set();
}

/** The value of every flag of a table, and all that is wrong with those that were given. */
export function checkFlags<F extends Flags>(
  flags: F,
  given: Given,
): { readonly values: Values<F>; readonly problems: readonly string[] } {
  const values: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, flag] of Object.entries(flags)) {
    const value = given[name];
    if (value !== undefined && flag.needs && !given[flag.needs]) {
      problems.push(`--${name} needs --${flag.needs}, without which it has no effect`);
    }
    if (value === undefined) {
      if (flag.required) problems.push(`--${name} is required`);
      values[name] = flag.default ?? (flag.rule.from === "switch" ? false : undefined);
      continue;
    }
    const read = readValue(name, flag, value);
    if (read.problem !== null) problems.push(read.problem);
    values[name] = read.value;
  }
  const names = Object.keys(values).filter((name) => given[name] !== undefined && values[name] !== false);
  givenNames.set(values, new Set(names));
  return { values: values as Values<F>, problems };
}

/** Every flag's checked value. @throws {UsageError} for missing and bad ones */
function checkGiven(command: Command, given: Given): Record<string, unknown> {
  const { values, problems: [problem] } = checkFlags(flagsOf(command), given);
  if (problem === undefined) return values;
  const help = problem.endsWith(" is required") ? `; see ${command.name} --help` : "";
  throw new UsageError(`Cannot run ${command.name}: ${problem}${help}`);
}

/** Checked values of `args`, or null for `--help`. @throws {UsageError} for unknown, missing or bad flags */
export function parseFlags<F extends Flags>(
  command: Command<F>,
  args: string[],
): Values<F> & Values<typeof COMMON_FLAGS> | null {
  const plain = command as unknown as Command;
  const given = parseGiven(plain, args);
  return given.help ? null : checkGiven(plain, given) as ReturnType<typeof parseFlags<F>>;
}

/**
 * The same, with what the file of `--config` says where `args` say nothing.
 * @throws {UsageError} for unknown, missing or bad flags @throws {TypeError} for a name in the file that is no flag
 */
export async function readFlags(command: Command, args: string[]): Promise<ReturnType<typeof parseFlags>> {
  const given = parseGiven(command, args);
  if (given.help) return null;
  const names = Object.keys(flagsOf(command)).filter((name) => name !== "config");
  const kept = given.config === undefined ? {} : await readConfigFile(String(given.config), names);
  return checkGiven(command, { ...kept, ...given }) as ReturnType<typeof parseFlags>;
}
