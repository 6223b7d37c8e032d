/**
 * What a command is: its flags as a table, from which parsing, checks and `--help` all come.
 * @module
 */

import { parseArgs } from "node:util";
import { problemWith, type Rule } from "../options/rules.ts";

/** A mistake of the user: printed without a stack, exit code 1. */
export class UsageError extends Error {
  override name = "UsageError";
}

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

/** A command. */
export interface Command<F extends Flags = Flags> {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  readonly flags: F;
  /** Lines of examples. */
  readonly examples: readonly string[];
  run(values: Values<F>): Promise<void>;
}

/** Text of `--help`. */
export function helpText(command: Command): string {
  const rows = Object.entries(command.flags).map(([name, flag]): [string, string] => {
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
    `Usage: ./run ${command.name} [flags]`,
    "",
    ...lines,
    "",
    "Examples:",
    ...command.examples.map((line) => `  ${line}`),
  ].join("\n");
}

/** What follows a flag in the help text: ` <integer>`, ` <float32|float16>`, nothing for a switch. */
function placeholder({ rule: { from, choices } }: Flag): string {
  return from === "switch" ? "" : ` <${choices?.join("|") ?? from ?? "text"}>`;
}

/** A flag's value from the text that was given. @throws {UsageError} for one that its rule refuses */
function readValue(command: string, name: string, { rule }: Flag, given: string | boolean): unknown {
  const isNumber = rule.from === "number" || rule.from === "integer";
  const value = isNumber && String(given).trim() !== "" ? Number(given) : given;
  const problem = problemWith(rule, `--${name}`, Number.isNaN(value) ? given : value);
  if (problem !== null) throw new UsageError(`Cannot run ${command}: ${problem}`);
  return value;
}

/** Checked values of `args`, or null for `--help`. @throws {UsageError} for unknown, missing or bad flags */
export function parseFlags<F extends Flags>(command: Command<F>, args: string[]): Values<F> | null {
  const options: Record<string, { type: "string" | "boolean" }> = { help: { type: "boolean" } };
  for (const [name, flag] of Object.entries(command.flags)) {
    options[name] = { type: flag.rule.from === "switch" ? "boolean" : "string" };
  }
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ args, options, strict: true, allowPositionals: false }).values as typeof given;
  } catch (error) {
    const reason = (error as Error).message.split(".")[0];
    throw new UsageError(`Cannot run ${command.name}: ${reason}; see ${command.name} --help`);
  }
  if (given.help) return null;
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(command.flags)) {
    const value = given[name];
    if (value !== undefined && flag.needs && !given[flag.needs]) {
      throw new UsageError(
        `Cannot run ${command.name}: --${name} needs --${flag.needs}, without which it has no effect`,
      );
    }
    if (value === undefined) {
      if (flag.required) {
        throw new UsageError(`Cannot run ${command.name}: --${name} is required; see ${command.name} --help`);
      }
      values[name] = flag.default ?? (flag.rule.from === "switch" ? false : undefined);
    } else values[name] = readValue(command.name, name, flag, value);
  }
  return values as Values<F>;
}
