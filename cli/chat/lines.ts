/**
 * Lines of standard input, read one at a time as they are asked for.
 * @module
 */

/** Reads lines of a stream of bytes. */
export class LineReader {
  readonly #reader: ReadableStreamDefaultReader<string>;
  #rest = "";
  #done = false;

  /** Reads nothing yet. */
  constructor(bytes: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#reader = bytes.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The next line without its end; null after the last one. */
  async next(): Promise<string | null> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end).replace(/\r$/, "");
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      if (this.#done) {
        const last = this.#rest;
        this.#rest = "";
        return last === "" ? null : last;
      }
      const { value, done } = await this.#reader.read();
      if (done) this.#done = true;
      else this.#rest += value;
    }
  }
}
