/**
 * Flags as a table: what each takes, what it means, and the checks of what was given. Commands are made of such tables, and
 * so are jobs that come over a broker.
 * @module
 */

import { problemWith, type Rule } from "../options/rules.ts";

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

/** A flag's value from the text that was given, or what is wrong with it. */
function readValue(name: string, { rule }: Flag, given: unknown): { value: unknown; problem: string | null } {
  const isNumber = rule.from === "number" || rule.from === "integer";
  const isText = rule.from === undefined && typeof given === "number"; // a file's `output: 5`
  const value = isNumber && String(given).trim() !== "" ? Number(given) : isText ? String(given) : given;
  return { value, problem: problemWith(rule, `--${name}`, Number.isNaN(value) ? given : value) };
}

const givenNames = new WeakMap<object, ReadonlySet<string>>();

/** Names of the flags that were given, here or in a file of `--config`; switches that are off count as not given. */
export function givenFlags(values: object): ReadonlySet<string> {
  return givenNames.get(values) ?? new Set();
}

/** The value of every flag of a table, and all that is wrong with those that were given. */
export function checkFlags<F extends Flags>(
  flags: F,
  given: Readonly<Record<string, unknown>>,
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
