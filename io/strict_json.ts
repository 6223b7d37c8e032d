/**
 * A strict, pull-style JSON reader over bytes, for headers from files that nobody vouches for. Unlike `JSON.parse` it
 * sees duplicate keys, keeps integers exact (digits only, up to 2^53 - 1), bounds the nesting, rejects lone
 * surrogates, and builds no objects, so a key like "__proto__" is only a string.
 *
 * @module
 */

const QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, COLON = 0x3a;
const OPEN_BRACKET = 0x5b, CLOSE_BRACKET = 0x5d, OPEN_BRACE = 0x7b, CLOSE_BRACE = 0x7d;

/** Nesting that is still read; serde_json, which safetensors uses, refuses the 128th level. */
const MAX_DEPTH = 127;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reports a defect: what was expected, and the byte where. */
export type Fail = (problem: string, at: number) => never;

/** Reads one JSON text from front to back. */
export class JsonReader {
  #bytes: Uint8Array;
  #fail: Fail;
  #at = 0;
  #depth = 0;

  /**
   * A reader at the start of a text.
   *
   * @param bytes UTF-8 JSON text.
   * @param fail called with the first defect; must throw.
   */
  constructor(bytes: Uint8Array, fail: Fail) {
    this.#bytes = bytes;
    this.#fail = fail;
  }

  /** Reads an object; `onKey` gets each key in order and must read its value. */
  object(onKey: (key: string) => void): void {
    this.#enter(OPEN_BRACE, "an object");
    if (!this.#take(CLOSE_BRACE)) {
      do {
        const key = this.string();
        if (!this.#take(COLON)) this.#expected('":"');
        onKey(key);
      } while (this.#take(COMMA));
      if (!this.#take(CLOSE_BRACE)) this.#expected('"," or "}"');
    }
    this.#depth--;
  }

  /** Reads an array; `onItem` must read the value at each index. */
  array(onItem: (index: number) => void): void {
    this.#enter(OPEN_BRACKET, "an array");
    if (!this.#take(CLOSE_BRACKET)) {
      let index = 0;
      do onItem(index++); while (this.#take(COMMA));
      if (!this.#take(CLOSE_BRACKET)) this.#expected('"," or "]"');
    }
    this.#depth--;
  }

  /** Reads a string. */
  string(): string {
    if (this.#peek() !== QUOTE) this.#expected("a string");
    const bytes = this.#bytes;
    const start = ++this.#at;
    let escaped = false;
    let at = start;
    for (;; at++) {
      const byte = bytes[at];
      if (byte === undefined) this.#fail("the string is not closed", start - 1);
      if (byte === QUOTE) break;
      if (byte < 0x20) this.#fail("a control character stands in a string", at);
      if (byte === BACKSLASH) {
        escaped = true;
        at++;
      }
    }
    let text: string;
    try {
      text = decoder.decode(bytes.subarray(start, at));
      if (escaped) text = JSON.parse(`"${text}"`);
    } catch {
      this.#fail(escaped ? "the string has a bad escape" : "the string is not valid UTF-8", start - 1);
    }
    if (escaped && !text.isWellFormed()) this.#fail("the string has a lone surrogate", start - 1);
    this.#at = at + 1;
    return text;
  }

  /** Reads an integer from 0 to 2^53 - 1 written in digits alone: no sign, fraction or exponent. */
  integer(): number {
    const at = this.#skipSpace();
    const text = this.#numberText();
    const value = Number(text);
    if (!/^(?:0|[1-9][0-9]*)$/.test(text)) this.#fail("an integer in digits alone is expected", at);
    if (!Number.isSafeInteger(value)) this.#fail("an integer up to 2^53 - 1 is expected", at);
    return value;
  }

  /** Reads null when it is next. */
  takeNull(): boolean {
    this.#skipSpace();
    return this.#takeWord("null");
  }

  /** Reads any value and drops it. */
  skip(): void {
    const at = this.#skipSpace();
    switch (this.#bytes[at]) {
      case QUOTE:
        this.string();
        return;
      case OPEN_BRACE:
        return this.object(() => this.skip());
      case OPEN_BRACKET:
        return this.array(() => this.skip());
    }
    if (this.#takeWord("null") || this.#takeWord("true") || this.#takeWord("false")) return;
    const text = this.#numberText();
    if (!NUMBER.test(text)) this.#fail("a value is expected", at);
    if (!Number.isFinite(Number(text))) this.#fail("the number is out of range", at);
  }

  /** Asserts that only white space is left. */
  end(): void {
    if (this.#skipSpace() < this.#bytes.length) this.#expected("the end");
  }

  #expected(what: string): never {
    this.#fail(`${what} is expected`, this.#at);
  }

  #skipSpace(): number {
    const bytes = this.#bytes;
    let at = this.#at;
    for (;; at++) {
      const byte = bytes[at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    }
    return this.#at = at;
  }

  #peek(): number | undefined {
    return this.#bytes[this.#skipSpace()];
  }

  #take(byte: number): boolean {
    if (this.#peek() !== byte) return false;
    this.#at++;
    return true;
  }

  #takeWord(word: string): boolean {
    for (let i = 0; i < word.length; i++) {
      if (this.#bytes[this.#at + i] !== word.charCodeAt(i)) return false;
    }
    this.#at += word.length;
    return true;
  }

  #enter(byte: number, what: string): void {
    if (!this.#take(byte)) this.#expected(what);
    if (++this.#depth > MAX_DEPTH) this.#fail(`values are nested more than ${MAX_DEPTH} deep`, this.#at - 1);
  }

  /** The characters that can belong to a number, as text. */
  #numberText(): string {
    const start = this.#skipSpace();
    let text = "";
    for (let at = start;; at++) {
      const byte = this.#bytes[at];
      const isPart = byte !== undefined &&
        (byte >= 0x30 && byte <= 0x39 || byte === 0x2b || byte === 0x2d || byte === 0x2e ||
          byte === 0x45 || byte === 0x65);
      if (!isPart) {
        this.#at = at;
        return text;
      }
      if (at - start >= 400) this.#fail("the number has more than 400 characters", start);
      text += String.fromCharCode(byte);
    }
  }
}
