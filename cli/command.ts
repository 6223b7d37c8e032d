/**
 * What a command is: its flags as a table, from which parsing, checks and `--help` all come.
 * @module
 */

import { parseArgs } from "node:util";

/** A mistake of the user: printed without a stack, exit code 1. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** One flag. */
export interface Flag {
  readonly type: "text" | "number" | "integer" | "switch";
  /** What it means; the default is added by `--help`. */
  readonly help: string;
  readonly default?: string | number | boolean;
  /** Whether it must be given. */
  readonly required?: boolean;
  /** Allowed texts. */
  readonly choices?: readonly string[];
  /** Least and greatest number. */
  readonly range?: readonly [low: number, high: number];
  /** A switch without which this flag would be ignored: giving it alone is a mistake. */
  readonly needs?: string;
}

/** Flags by name, without the dashes. */
export type Flags = Readonly<Record<string, Flag>>;

/** Type of a flag's value; undefined where it is neither required nor has a default. */
type ValueOf<F extends Flag> =
  | (F["type"] extends "text" ? string : F["type"] extends "switch" ? boolean : number)
  | (F extends { required: true } ? never
    : F extends { default: string | number | boolean } ? never
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
    const value = flag.type === "switch" ? "" : ` <${flag.choices?.join("|") ?? flag.type}>`;
    const note = flag.required
      ? " (required)"
      : flag.default === undefined || flag.type === "switch"
      ? ""
      : ` [${flag.default}]`;
    return [`  --${name}${value}`, flag.help + note];
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

function parseNumber(command: string, name: string, flag: Flag, text: string): number {
  const value = text.trim() === "" ? NaN : Number(text);
  const wanted = flag.type === "integer" ? "an integer" : "a number";
  if (!Number.isFinite(value) || (flag.type === "integer" && !Number.isInteger(value))) {
    throw new UsageError(`Cannot run ${command}: --${name} must be ${wanted}, received "${text}"`);
  }
  const [low, high] = flag.range ?? [-Infinity, Infinity];
  if (value < low || value > high) {
    const range = high === Infinity ? `at least ${low}` : `from ${low} to ${high}`;
    throw new UsageError(`Cannot run ${command}: --${name} must be ${range}, received ${value}`);
  }
  return value;
}

/** Checked values of `args`, or null for `--help`. @throws {UsageError} for unknown, missing or bad flags */
export function parseFlags<F extends Flags>(command: Command<F>, args: string[]): Values<F> | null {
  const options: Record<string, { type: "string" | "boolean" }> = { help: { type: "boolean" } };
  for (const [name, flag] of Object.entries(command.flags)) {
    options[name] = { type: flag.type === "switch" ? "boolean" : "string" };
  }
  let given: Record<string, string | boolean | undefined>;
  try {
    given = parseArgs({ args, options, strict: true, allowPositionals: false }).values as typeof given;
  } catch (error) {
    const reason = (error as Error).message.split(".")[0];
    throw new UsageError(`Cannot run ${command.name}: ${reason}; see ${command.name} --help`);
  }
  if (given.help) return null;
  const values: Record<string, string | number | boolean | undefined> = {};
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
      values[name] = flag.default ?? (flag.type === "switch" ? false : undefined);
    } else if (flag.type === "number" || flag.type === "integer") {
      values[name] = parseNumber(command.name, name, flag, value as string);
    } else {
      if (flag.choices && !flag.choices.includes(value as string)) {
        throw new UsageError(
          `Cannot run ${command.name}: --${name} must be one of ${
            flag.choices.join(", ")
          }, received "${value}"`,
        );
      }
      values[name] = value;
    }
  }
  return values as Values<F>;
}
