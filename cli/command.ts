/**
 * What a command is: its flags as a table, from which parsing, checks and `--help` all come.
 * @module
 */

import { parseArgs } from "node:util";
import { flag, text } from "../options/rules.ts";
import { meantName } from "../options/names.ts";
import { usualName } from "./flag_names.ts";
import { readConfigFile } from "./config_file.ts";
import { checkFlags, type Flag, type Flags, type Values } from "../jobs/flags.ts";
import { UsageError } from "../jobs/usage_error.ts";

export { UsageError };

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
    const [, named] = /^Option '(--[\w-]+)' argument is ambiguous/.exec(reason) ?? [];
    if (named !== undefined) {
      throw new UsageError(
        `Cannot run ${command.name}: ${named} must have a value; one that begins with a dash follows "=", as in ${named}=-1; see ${command.name} --help`,
      );
    }
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
