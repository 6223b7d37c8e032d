/**
 * Rules for single values of options: what a value must be, and how a wrong one is refused. Configurations, training
 * arguments and command-line flags are all tables of them.
 * @module
 */

/** What a value must be. */
export interface Rule<T> {
  /** What is wanted, as it follows "must be": "an integer of at least 1". */
  readonly wanted: string;
  /** Whether a value is fine. */
  readonly accepts: (value: unknown) => value is T;
  /** What is wrong with a value; absent: `<name> must be <wanted>, received <value>`. */
  readonly message?: (name: string, value: unknown) => string;
  /** How a command-line flag reads it from text; absent: as the text itself. */
  readonly from?: "number" | "integer" | "switch";
  /** The values, where there are a few. */
  readonly choices?: readonly T[];
}

/** A value as a message shows it: JSON where that says it, else as JavaScript prints it. */
export function shown(value: unknown): string {
  return typeof value === "number" || value === undefined
    ? String(value)
    : JSON.stringify(value) ?? String(value);
}

/** Why a rule refuses a value, or null. */
export function problemWith<T>(rule: Rule<T>, name: string, value: unknown): string | null {
  if (rule.accepts(value)) return null;
  return rule.message?.(name, value) ?? `${name} must be ${rule.wanted}, received ${shown(value)}`;
}

/** A rule by a test of the value. */
export function rule<T>(wanted: string, accepts: (value: unknown) => boolean): Rule<T> {
  return { wanted, accepts: accepts as Rule<T>["accepts"] };
}

/** Appends a range to what is wanted. */
function within(kind: string, low: number, high: number): string {
  if (low === -Infinity && high === Infinity) return kind;
  return high === Infinity ? `${kind} of at least ${low}` : `${kind} from ${low} to ${high}`;
}

/** A finite number from `low` to `high`. */
export function number(low: number = -Infinity, high: number = Infinity): Rule<number> {
  const kind = low === -Infinity ? "a finite number" : "a number";
  return {
    ...rule<number>(
      within(kind, low, high),
      (value) => typeof value === "number" && Number.isFinite(value) && value >= low && value <= high,
    ),
    from: "number",
  };
}

/** A number above 0, at most `high`. */
export function positive(high: number = Infinity): Rule<number> {
  const { accepts, wanted, ...rest } = number(0, high);
  return {
    ...rest,
    wanted: `${wanted.replace(/ (from|of at least) .*/, "")} above 0${
      high < Infinity ? ` and at most ${high}` : ""
    }`,
    accepts: (value): value is number => value !== 0 && accepts(value),
  };
}

/** An integer from `low` to `high`. */
export function integer(low: number = -Infinity, high: number = Infinity): Rule<number> {
  return {
    ...rule<number>(
      within("an integer", low, high),
      (value) => Number.isInteger(value) && (value as number) >= low && (value as number) <= high,
    ),
    from: "integer",
  };
}

/** true or false. */
export const flag: Rule<boolean> = {
  ...rule<boolean>("true or false", (value) => typeof value === "boolean"),
  from: "switch",
};

/** Any string. */
export const text: Rule<string> = rule("a string", (value) => typeof value === "string");

/** One of a few values. */
export function choice<const Choices extends readonly unknown[]>(...choices: Choices): Rule<Choices[number]> {
  const list = choices.map((value) => JSON.stringify(value));
  const wanted = list.length === 1 ? list[0] : `${list.slice(0, -1).join(", ")} or ${list.at(-1)}`;
  return { ...rule<Choices[number]>(wanted, (value) => choices.includes(value)), choices };
}

/** What another rule accepts, or null. */
export function orNull<T>(inner: Rule<T>): Rule<T | null> {
  const { wanted, message } = inner;
  return {
    ...rule<T | null>(`${wanted} or null`, (value) => value === null || inner.accepts(value)),
    ...(message ? { message } : {}),
    ...(inner.from ? { from: inner.from } : {}),
  };
}

/** An object that maps names to values of another rule; a wrong value is refused as `<name> of "<key>"`. */
export function table<T>(wanted: string, values: Rule<T>): Rule<Readonly<Record<string, T>>> {
  const isTable = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  return {
    ...rule<Readonly<Record<string, T>>>(
      wanted,
      (value) => isTable(value) && Object.values(value).every((entry) => values.accepts(entry)),
    ),
    message: (name, value) => {
      const wrong = isTable(value) && Object.entries(value).find(([, entry]) => !values.accepts(entry));
      return wrong
        ? problemWith(values, `${name} of ${JSON.stringify(wrong[0])}`, wrong[1])!
        : `${name} must ${wanted}, received ${shown(value)}`;
    },
  };
}

/** A rule with a message of its own. */
export function refusedAs<T>(inner: Rule<T>, message: (name: string, value: unknown) => string): Rule<T> {
  return { ...inner, message };
}
