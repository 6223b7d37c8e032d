/**
 * A table of options: for each its default, the rule for its value and its name on disk. What reads options (a
 * constructor, a file, a command line) and what shows them (a file, an error, a page) all come from the one table.
 * @module
 */

import { problemWith, type Rule } from "./rules.ts";

/** One option. */
export interface Option<T> {
  /** Its value where none is given. */
  readonly default: T;
  /** What it must be. */
  readonly rule: Rule<T>;
  /** Its name on disk where that is not its name in snake_case. */
  readonly key?: string;
  /** Whether a summary for a reader shows it always, or only where it differs from its default; absent: never. */
  readonly inSummary?: "always" | "changed";
}

/** The options of `T`. */
export type OptionTable<T> = { readonly [Name in keyof T]-?: Option<T[Name]> };

/** One row of a table. */
export function option<T>(
  value: T,
  rule: Rule<T>,
  extra: Pick<Option<T>, "key" | "inSummary"> = {},
): Option<T> {
  return { default: value, rule, ...extra };
}

/** `maxNewTokens` as `max_new_tokens`. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The names of a table, in its order. */
export function namesOf<T>(options: OptionTable<T>): (keyof T & string)[] {
  return Object.keys(options) as (keyof T & string)[];
}

/** The name of an option on disk. */
export function keyOf<T>(options: OptionTable<T>, name: keyof T & string): string {
  return options[name].key ?? snakeCase(name);
}

/** The default of every option. */
export function defaultsOf<T>(options: OptionTable<T>): T {
  return Object.fromEntries(namesOf(options).map((name) => [name, options[name].default])) as T;
}

/** How a table's owner speaks of it. */
export interface Report {
  /** Refuses, with what is wrong. */
  readonly refuse: (message: string) => never;
  /** The name of an option in messages; absent: its name in TypeScript. */
  readonly nameOf?: (name: string) => string;
}

/**
 * Every option: the given ones, checked by their rules, and the defaults of the others. undefined means the default. Names
 * that are not in the table are the caller's to refuse.
 */
export function completeOptions<T>(options: OptionTable<T>, given: Partial<T>, report: Report): T {
  const all = defaultsOf(options) as Record<string, unknown>;
  const { refuse, nameOf = (name) => name } = report;
  for (const name of namesOf(options)) {
    const value = given[name];
    if (value !== undefined) all[name] = value;
    const problem = problemWith(options[name].rule, nameOf(name), all[name]);
    if (problem !== null) refuse(problem);
  }
  return all as T;
}

/** The values of an object's options by their names on disk. */
export function toDisk<T>(options: OptionTable<T>, values: Readonly<T>): Record<string, unknown> {
  return Object.fromEntries(namesOf(options).map((name) => [keyOf(options, name), values[name]]));
}

/** The options that a file gives, by their names in TypeScript, and the entries of the file that are no options. */
export function fromDisk<T>(
  options: OptionTable<T>,
  json: Readonly<Record<string, unknown>>,
): { given: Partial<T>; rest: Record<string, unknown> } {
  const names = new Map(namesOf(options).map((name) => [keyOf(options, name), name]));
  const given: Record<string, unknown> = {};
  const rest: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(json)) {
    const name = names.get(key);
    if (name === undefined) rest[key] = value;
    else given[name] = value;
  }
  return { given: given as Partial<T>, rest };
}
