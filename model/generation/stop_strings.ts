/**
 * Texts that end a row (`transformers`' `stop_strings`).
 * @module
 */

import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/** Tells whether a row ends with one of several texts. */
export class StopStrings {
  readonly #texts: readonly string[];
  readonly #tokenizer: Tokenizer;
  /** Greatest number of tokens that the longest text can take: each has at least one byte. */
  readonly #reach: number;

  /** @throws {TypeError} for an empty text, or without a tokenizer */
  constructor(texts: string | readonly string[], tokenizer: Tokenizer | undefined) {
    this.#texts = [texts].flat();
    if (this.#texts.length === 0 || this.#texts.some((text) => typeof text !== "string" || text === "")) {
      throw new TypeError(
        `Cannot generate: stopStrings must be one or more texts that are not empty, received ${
          JSON.stringify(texts)
        }`,
      );
    }
    if (!tokenizer) {
      throw new TypeError(
        "Cannot generate: stopStrings needs the option tokenizer, which turns tokens into text, received none",
      );
    }
    this.#tokenizer = tokenizer;
    this.#reach = Math.max(...this.#texts.map((text) => new TextEncoder().encode(text).length));
  }

  /** Whether one of the texts ends within the row's last token or at its end. The text may begin in the prompt. */
  endsIn(row: readonly number[]): boolean {
    const tail = row.slice(-this.#reach - 1);
    const text = this.#tokenizer.decode(tail);
    const before = this.#tokenizer.decode(tail.slice(0, -1)).replace(/\uFFFD+$/, "").length;
    return this.#texts.some((stop) => {
      const at = text.lastIndexOf(stop);
      return at >= 0 && at + stop.length > before;
    });
  }
}
