/**
 * Whether it is safe to run a regular expression from a file on JavaScript's matcher. That matcher backtracks: a pattern such
 * as `^(a+)+$` takes time exponential in the length of the text. The rule here looks at the form of the pattern and errs on the safe
 * side: what is repeated must match in one way only, so that the time is at worst a low power of the length.
 *
 * @module
 */

/** Unbounded repeats in a row that are allowed; `o200k`'s pattern has two. The time is at worst the length to this power. */
const MAX_UNBOUNDED = 3;
/** Optional or bounded repeats in a row that are allowed, each of which may double the time. */
const MAX_OPTIONAL = 10;
/** A bounded repeat beyond this counts as unbounded, and cannot be repeated itself. */
const MAX_COUNT = 1000;
const MAX_LENGTH = 20_000;
const MAX_GROUPS_DEEP = 50;

/** What a part of a pattern may do, at worst. */
interface Ways {
  /** Whether it may match one text in several ways or several lengths. */
  readonly varies: boolean;
  /** Unbounded repeats in a row. */
  readonly unbounded: number;
  /** Optional or bounded repeats in a row. */
  readonly optional: number;
  /** How often it repeats a character at most, as far as that is fixed. */
  readonly count: number;
}

const ONE: Ways = { varies: false, unbounded: 0, optional: 0, count: 1 };

/** Reads a pattern once, from left to right. */
class PatternReader {
  readonly #source: string;
  readonly #nested: boolean;
  #at = 0;
  #depth = 0;

  /** `nested`: classes may hold classes, as Oniguruma reads `[^(\s|[.,])]`. */
  constructor(source: string, nested: boolean) {
    this.#source = source;
    this.#nested = nested;
  }

  /** The defect that makes the pattern unsafe; undefined when it is safe. */
  check(): string | undefined {
    if (this.#source.length > MAX_LENGTH) return `it has more than ${MAX_LENGTH} characters`;
    try {
      this.#alternatives();
      if (this.#at < this.#source.length) this.#refuse("a group is closed that was not opened");
    } catch (error) {
      if (error instanceof Unsafe) return error.message;
      throw error;
    }
  }

  #refuse(why: string): never {
    throw new Unsafe(why);
  }

  #alternatives(): Ways {
    if (++this.#depth > MAX_GROUPS_DEEP) this.#refuse(`groups are nested more than ${MAX_GROUPS_DEEP} deep`);
    let all = this.#sequence();
    while (this.#source[this.#at] === "|") {
      this.#at++;
      const next = this.#sequence();
      all = {
        varies: true,
        unbounded: Math.max(all.unbounded, next.unbounded),
        optional: Math.max(all.optional, next.optional),
        count: Math.max(all.count, next.count),
      };
    }
    this.#depth--;
    return all;
  }

  #sequence(): Ways {
    let all: Ways = { ...ONE, count: 0 };
    while (
      this.#at < this.#source.length && this.#source[this.#at] !== "|" && this.#source[this.#at] !== ")"
    ) {
      const next = this.#repeated(this.#atom());
      all = {
        varies: all.varies || next.varies,
        unbounded: all.unbounded + next.unbounded,
        optional: all.optional + next.optional,
        count: all.count + next.count,
      };
    }
    if (all.unbounded > MAX_UNBOUNDED) {
      this.#refuse(`more than ${MAX_UNBOUNDED} unbounded repeats follow each other`);
    }
    if (all.optional > MAX_OPTIONAL) {
      this.#refuse(`more than ${MAX_OPTIONAL} optional parts follow each other`);
    }
    return all;
  }

  #atom(): Ways {
    const source = this.#source;
    const char = source[this.#at++];
    if (char === "[") {
      this.#class();
      return ONE;
    }
    if (char === "(") {
      this.#at +=
        /^\?(?:[:=!>]|<[=!]|<\w+>|[a-z-]+:)/.exec(source.slice(this.#at, this.#at + 80))?.[0].length ?? 0;
      const inner = this.#alternatives();
      if (source[this.#at++] !== ")") this.#refuse("a group is not closed");
      return inner;
    }
    if (char === "\\") {
      if (/[1-9k]/.test(source[this.#at] ?? "")) this.#refuse("it refers back to a group");
      this.#at += /^(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{2}|u\{[^}]*\}|u[0-9a-fA-F]{4}|[^])/u
        .exec(source.slice(this.#at, this.#at + 80))?.[0].length ?? 0;
    }
    return ONE;
  }

  /** Skips a character class. */
  #class(): void {
    if (this.#source[this.#at] === "^") this.#at++;
    for (let depth = 1; depth > 0; this.#at++) {
      const char = this.#source[this.#at];
      if (char === undefined) this.#refuse("a class is not closed");
      if (char === "\\") this.#at++;
      else if (char === "]") depth--;
      else if (char === "[" && this.#nested) depth++;
    }
  }

  /** Applies the repeats that follow an atom. */
  #repeated(atom: Ways): Ways {
    let all = atom;
    for (;;) {
      const [text, , low, comma, high] =
        /^(?:([*+?])|\{(\d+)(,?)(\d*)\})[?+]?/.exec(this.#source.slice(this.#at, this.#at + 40)) ?? [];
      if (text === undefined) return all;
      this.#at += text.length;
      const least = low === undefined ? (text[0] === "+" ? 1 : 0) : Number(low);
      const most = low === undefined
        ? (text[0] === "?" ? 1 : Infinity)
        : comma === ""
        ? least
        : high === ""
        ? Infinity
        : Number(high);
      const count = all.count * (Number.isFinite(most) ? most : 1);
      if (most > 1 && all.varies) this.#refuse("a part that can match in several ways is repeated");
      if (count > MAX_COUNT) this.#refuse(`a part is repeated more than ${MAX_COUNT} times`);
      const unbounded = most === Infinity;
      all = {
        varies: all.varies || most !== least,
        unbounded: all.unbounded + (unbounded ? 1 : 0),
        optional: all.optional + (!unbounded && most !== least ? 1 : 0),
        count,
      };
    }
  }
}

/** Ends the reading of a pattern. */
class Unsafe extends Error {}

/** Why a pattern may take more time than a low power of the text's length; undefined when it cannot. */
export function patternDefect(source: string): string | undefined {
  const defect = new PatternReader(source, false).check();
  return defect === undefined
    ? undefined
    : source.includes("[")
    ? new PatternReader(source, true).check()
    : defect;
}
