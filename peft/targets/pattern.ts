/**
 * Regular expressions in linear time: Python's `re.fullmatch` for the syntax that target patterns use, so that one
 * line of an adapter file cannot hang the loader (`(.*)*x`). The pattern becomes a nondeterministic automaton that is
 * run on all states at once (Thompson 1968; Pike's virtual machine without captures).
 *
 * Refused by name, because no such automaton has them: lookahead and lookbehind, back references, conditionals, atomic
 * groups and possessive quantifiers.
 * @module
 */

/** A compiled pattern. */
export interface Pattern {
  /** Whether the whole text matches. */
  fullMatch(text: string): boolean;
}

/** Longest pattern, in characters, and largest automaton, in states. */
const MAX_PATTERN = 512;
const MAX_STATES = 20_000;

type CharTest = (char: string) => boolean;
type Assertion = "start" | "end" | "endOrNewline" | "boundary" | "notBoundary";

type Node =
  | { readonly kind: "char"; readonly test: CharTest }
  | { readonly kind: "assert"; readonly assertion: Assertion }
  | { readonly kind: "sequence"; readonly items: readonly Node[] }
  | { readonly kind: "choice"; readonly items: readonly Node[] }
  | { readonly kind: "repeat"; readonly item: Node; readonly min: number; readonly max: number };

type State =
  | { readonly op: "char"; readonly test: CharTest }
  | { readonly op: "assert"; readonly assertion: Assertion }
  | { readonly op: "split"; readonly to: number[] }
  | { readonly op: "match" };

const isDigit: CharTest = (c) => /\p{Nd}/u.test(c);
const isWord: CharTest = (c) => /[\p{L}\p{N}_]/u.test(c);
const isSpace: CharTest = (c) => /\s/u.test(c);
const CLASSES: Readonly<Record<string, CharTest>> = {
  d: isDigit,
  D: (c) => !isDigit(c),
  w: isWord,
  W: (c) => !isWord(c),
  s: isSpace,
  S: (c) => !isSpace(c),
};
const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  f: "\f",
  v: "\v",
  a: "\x07",
  "0": "\0",
};
const ASSERTIONS: Readonly<Record<string, Assertion>> = {
  A: "start",
  Z: "end",
  b: "boundary",
  B: "notBoundary",
};

/** Recursive descent over the pattern. */
class Parser {
  readonly #chars: readonly string[];
  readonly #pattern: string;
  #at = 0;
  #ignoreCase = false;
  #dotAll = false;

  constructor(pattern: string) {
    this.#pattern = pattern;
    this.#chars = [...pattern];
  }

  parse(): Node {
    const flags = /^\(\?([aisu]+)\)/.exec(this.#pattern);
    if (flags) {
      this.#ignoreCase = flags[1].includes("i");
      this.#dotAll = flags[1].includes("s");
      this.#at = flags[0].length;
    }
    const node = this.#choice();
    if (this.#at < this.#chars.length) this.#refuse("an open group", `")" without one`);
    return node;
  }

  #refuse(required: string, received: string): never {
    throw new SyntaxError(
      `Cannot use pattern ${
        JSON.stringify(this.#pattern)
      }: ${required} is required, received ${received} at ${this.#at}`,
    );
  }

  #unsupported(what: string): never {
    throw new SyntaxError(
      `Cannot use pattern ${
        JSON.stringify(this.#pattern)
      }: ${what} at ${this.#at} is not supported in target patterns`,
    );
  }

  #peek(text: string): boolean {
    return [...text].every((c, i) => this.#chars[this.#at + i] === c);
  }

  #take(text: string): boolean {
    const found = this.#peek(text);
    if (found) this.#at += text.length;
    return found;
  }

  #choice(): Node {
    const items = [this.#sequence()];
    while (this.#take("|")) items.push(this.#sequence());
    return items.length === 1 ? items[0] : { kind: "choice", items };
  }

  #sequence(): Node {
    const items: Node[] = [];
    while (this.#at < this.#chars.length && !this.#peek("|") && !this.#peek(")")) {
      items.push(this.#repeated());
    }
    return { kind: "sequence", items };
  }

  #repeated(): Node {
    let node = this.#atom();
    const bounds = this.#quantifier();
    if (!bounds) return node;
    node = { kind: "repeat", item: node, min: bounds[0], max: bounds[1] };
    if (this.#peek("+")) this.#unsupported("a possessive quantifier");
    this.#take("?"); // lazy: the same language
    if (this.#quantifier()) this.#refuse("something to repeat", "a second quantifier");
    return node;
  }

  #quantifier(): [number, number] | null {
    if (this.#take("*")) return [0, Infinity];
    if (this.#take("+")) return [1, Infinity];
    if (this.#take("?")) return [0, 1];
    if (!this.#peek("{")) return null;
    const rest = this.#chars.slice(this.#at).join("");
    const found = /^\{(\d*)(,?)(\d*)\}/.exec(rest);
    if (!found || (found[1] === "" && found[3] === "")) return null; // a literal brace
    this.#at += found[0].length;
    const min = Number(found[1] || "0");
    const max = found[2] === "" ? min : found[3] === "" ? Infinity : Number(found[3]);
    if (max < min) this.#refuse("a maximum of at least the minimum", found[0]);
    return [min, max];
  }

  #atom(): Node {
    const char = this.#chars[this.#at];
    if (this.#take("(")) return this.#group();
    if (this.#take("[")) return { kind: "char", test: this.#set() };
    if (this.#take("\\")) return this.#escape();
    if (this.#take("^")) return { kind: "assert", assertion: "start" };
    if (this.#take("$")) return { kind: "assert", assertion: "endOrNewline" };
    if (this.#take(".")) {
      const all = this.#dotAll;
      return { kind: "char", test: (c) => all || c !== "\n" };
    }
    if ("*+?".includes(char)) this.#refuse("something to repeat", `"${char}"`);
    this.#at++;
    return this.#literal(char);
  }

  #literal(char: string): Node {
    if (!this.#ignoreCase) return { kind: "char", test: (c) => c === char };
    const lower = char.toLowerCase();
    return { kind: "char", test: (c) => c.toLowerCase() === lower };
  }

  #group(): Node {
    if (this.#take("?")) {
      if (this.#peek("=") || this.#peek("!")) this.#unsupported("lookahead");
      if (this.#peek("<=") || this.#peek("<!")) this.#unsupported("lookbehind");
      if (this.#peek(">")) this.#unsupported("an atomic group");
      if (this.#peek("(")) this.#unsupported("a conditional");
      if (this.#peek("P=")) this.#unsupported("a back reference");
      if (this.#take("P<")) {
        while (this.#at < this.#chars.length && !this.#take(">")) this.#at++;
      } else if (!this.#take(":")) this.#unsupported("an inline flag or an unknown group");
    }
    const node = this.#choice();
    if (!this.#take(")")) this.#refuse(`")"`, "the end of the pattern");
    return node;
  }

  #escape(): Node {
    const char = this.#chars[this.#at];
    if (char === undefined) this.#refuse("a character after the backslash", "the end of the pattern");
    if (/[1-9]/.test(char)) this.#unsupported("a back reference");
    if (Object.hasOwn(CLASSES, char)) {
      this.#at++;
      return { kind: "char", test: CLASSES[char] };
    }
    if (Object.hasOwn(ASSERTIONS, char)) {
      this.#at++;
      return { kind: "assert", assertion: ASSERTIONS[char] };
    }
    return this.#literal(this.#escapedChar());
  }

  /** The character that an escape stands for, after the backslash. */
  #escapedChar(): string {
    const char = this.#chars[this.#at++];
    if (Object.hasOwn(ESCAPES, char)) return ESCAPES[char];
    const digits = { x: 2, u: 4, U: 8 }[char];
    if (digits !== undefined) {
      const hex = this.#chars.slice(this.#at, this.#at + digits).join("");
      if (!new RegExp(`^[0-9a-fA-F]{${digits}}$`).test(hex)) {
        this.#refuse(`${digits} hexadecimal digits`, `"${hex}"`);
      }
      this.#at += digits;
      return String.fromCodePoint(parseInt(hex, 16));
    }
    if (/[A-Za-z]/.test(char)) this.#refuse("a known escape", `"\\${char}"`);
    return char;
  }

  #set(): CharTest {
    const negated = this.#take("^");
    const tests: CharTest[] = [];
    let first = true;
    while (first || !this.#peek("]")) {
      if (this.#at >= this.#chars.length) this.#refuse(`"]"`, "the end of the pattern");
      first = false;
      tests.push(this.#setItem());
    }
    this.#at++;
    const ignoreCase = this.#ignoreCase;
    const any = (c: string) => tests.some((test) => test(c));
    const hit = (c: string) => any(c) || ignoreCase && (any(c.toLowerCase()) || any(c.toUpperCase()));
    return (c) => hit(c) !== negated;
  }

  #setItem(): CharTest {
    const low = this.#setChar();
    if (typeof low !== "string") return low;
    if (!this.#peek("-") || this.#chars[this.#at + 1] === "]" || this.#at + 1 >= this.#chars.length) {
      return (c) => c === low;
    }
    this.#at++;
    const high = this.#setChar();
    if (typeof high !== "string" || high < low) {
      this.#refuse("a range of characters", "one that ends before it starts");
    }
    return (c) => c >= low && c <= high;
  }

  #setChar(): string | CharTest {
    if (!this.#take("\\")) return this.#chars[this.#at++];
    const char = this.#chars[this.#at];
    if (char === "b") {
      this.#at++;
      return "\b";
    }
    if (char !== undefined && Object.hasOwn(CLASSES, char)) {
      this.#at++;
      return CLASSES[char];
    }
    if (char === undefined) this.#refuse("a character after the backslash", "the end of the pattern");
    return this.#escapedChar();
  }
}

/** Turns the tree into states; a counted repeat is expanded. */
function compile(node: Node, states: State[], pattern: string): void {
  const add = (state: State): void => {
    if (states.push(state) > MAX_STATES) {
      throw new SyntaxError(
        `Cannot use pattern ${
          JSON.stringify(pattern)
        }: at most ${MAX_STATES} states are allowed, received more`,
      );
    }
  };
  switch (node.kind) {
    case "char":
      return add({ op: "char", test: node.test });
    case "assert":
      return add({ op: "assert", assertion: node.assertion });
    case "sequence":
      for (const item of node.items) compile(item, states, pattern);
      return;
    case "choice": {
      const split: number[] = [];
      const jumps: number[][] = [];
      add({ op: "split", to: split });
      for (const item of node.items) {
        split.push(states.length);
        compile(item, states, pattern);
        const jump: number[] = [];
        jumps.push(jump);
        add({ op: "split", to: jump });
      }
      for (const jump of jumps) jump.push(states.length);
      return;
    }
    case "repeat": {
      for (let i = 0; i < node.min; i++) compile(node.item, states, pattern);
      if (node.max === Infinity) {
        const start = states.length;
        const split: number[] = [start + 1];
        add({ op: "split", to: split });
        compile(node.item, states, pattern);
        add({ op: "split", to: [start] });
        split.push(states.length);
        return;
      }
      const skips: number[][] = [];
      for (let i = node.min; i < node.max; i++) {
        const split: number[] = [states.length + 1];
        skips.push(split);
        add({ op: "split", to: split });
        compile(node.item, states, pattern);
      }
      for (const skip of skips) skip.push(states.length);
    }
  }
}

function holds(assertion: Assertion, chars: readonly string[], at: number): boolean {
  const boundary = () => (at > 0 && isWord(chars[at - 1])) !== (at < chars.length && isWord(chars[at]));
  switch (assertion) {
    case "start":
      return at === 0;
    case "end":
      return at === chars.length;
    case "endOrNewline":
      return at === chars.length || (at === chars.length - 1 && chars[at] === "\n");
    case "boundary":
      return boundary();
    case "notBoundary":
      return !boundary();
  }
}

function run(states: readonly State[], text: string): boolean {
  const chars = [...text];
  let current = new Set<number>([0]);
  for (let at = 0;; at++) {
    const reached = new Set<number>();
    const stack = [...current];
    for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
      if (reached.has(i)) continue;
      reached.add(i);
      const state = states[i];
      if (state.op === "split") stack.push(...state.to);
      else if (state.op === "assert" && holds(state.assertion, chars, at)) stack.push(i + 1);
    }
    if (at === chars.length) return reached.has(states.length - 1);
    current = new Set();
    for (const i of reached) {
      const state = states[i];
      if (state.op === "char" && state.test(chars[at])) current.add(i + 1);
    }
    if (current.size === 0) return false;
  }
}

const cache = new Map<string, Pattern>();

/**
 * A pattern in Python's syntax.
 * @throws {SyntaxError} if it is not valid, not supported, or too large
 */
export function compilePattern(pattern: string): Pattern {
  const cached = cache.get(pattern);
  if (cached) return cached;
  if (pattern.length > MAX_PATTERN) {
    throw new SyntaxError(
      `Cannot use a pattern of ${pattern.length} characters: at most ${MAX_PATTERN} are allowed`,
    );
  }
  const states: State[] = [];
  compile(new Parser(pattern).parse(), states, pattern);
  states.push({ op: "match" });
  const compiled = { fullMatch: (text: string) => run(states, text) };
  if (cache.size > 256) cache.clear();
  cache.set(pattern, compiled);
  return compiled;
}
