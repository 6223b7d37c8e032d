/**
 * Text that ends before one of several texts: the `stop` of OpenAI's interface, which is not part of the answer.
 * @module
 */

/** Takes an answer piece by piece, and holds back what might be the beginning of a text that ends it. */
export class StopTexts {
  readonly #texts: readonly string[];
  #held = "";
  #isOver = false;

  /** @param texts none of them empty */
  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  /** Whether one of the texts was found. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Adds a piece; returns what certainly belongs to the answer. */
  push(piece: string): string {
    if (this.#isOver) return "";
    const text = this.#held + piece;
    const places = this.#texts.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    if (places.length > 0) {
      this.#isOver = true;
      this.#held = "";
      return text.slice(0, Math.min(...places));
    }
    const held = Math.max(0, ...this.#texts.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - held);
    return text.slice(0, text.length - held);
  }

  /** What was held back, once nothing follows. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }
}

/** Length of the longest end of a text that begins another one. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
