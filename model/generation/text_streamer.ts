/**
 * Text of a generation while its tokens arrive (`transformers`' `TextStreamer`).
 * @module
 */

import { checkOptions } from "../../options/names.ts";
import type { Streamer } from "./decode.ts";
import type { DecodeStream, Tokenizer } from "../tokenizer/tokenizer.ts";

/**
 * Options of a `TextStreamer`, with `transformers`' names.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, TextStreamer } from "@peft/webgpu";
 * import type { TextStreamerOptions } from "@peft/webgpu/model";
 *
 * let page = "";
 * const options: TextStreamerOptions = { skipSpecialTokens: true, onFinalizedText: (text) => page += text };
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const streamer = new TextStreamer(tokenizer, options); // generate() takes it; here tokens come by hand
 * for (const id of tokenizer.encode("One day")) streamer.put([id]);
 * streamer.end();
 * console.log(page); // One day
 * ```
 */
export interface TextStreamerOptions {
  /** Leave the prompt out; default false. */
  skipPrompt?: boolean;
  /** Leave special tokens such as `<|endoftext|>` out; default false. */
  skipSpecialTokens?: boolean;
  /** Receives each piece of text once no later token can change it; `streamEnd` is true for the last one. Default: prints it. */
  onFinalizedText?: (text: string, streamEnd: boolean) => void;
}

/** The part of the global `process` that is used here; browsers have none. */
interface Process {
  readonly stdout?: { write(text: string): unknown };
}

/** Prints to standard output; where there is none, prints whole lines to the console. */
function printer(): (text: string, streamEnd: boolean) => void {
  const { stdout } = (globalThis as { process?: Process }).process ?? {};
  if (stdout) return (text, streamEnd) => void stdout.write(streamEnd ? `${text}\n` : text);
  let line = "";
  return (text, streamEnd) => {
    const lines = (line + text).split("\n");
    line = streamEnd ? "" : lines.pop()!;
    for (const whole of lines) console.log(whole);
  };
}

/**
 * Prints the text of one row as it is generated, in whole characters.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextStreamer } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const streamer = new TextStreamer(tokenizer, { skipPrompt: true });
 * await model.generate("Once upon a time", { tokenizer, streamer, maxNewTokens: 8 });
 * ```
 */
export class TextStreamer implements Streamer {
  readonly #text: DecodeStream;
  readonly #skipPrompt: boolean;
  readonly #onFinalizedText: (text: string, streamEnd: boolean) => void;

  /** Holds nothing back yet. @param tokenizer the model's tokenizer @throws {TypeError} for none */
  constructor(tokenizer: Tokenizer, options: TextStreamerOptions = {}) {
    checkOptions("stream text", options, ["skipPrompt", "skipSpecialTokens", "onFinalizedText"]);
    const { skipPrompt = false, skipSpecialTokens = false, onFinalizedText = printer() } = options;
    if (!tokenizer?.decodeStream) {
      throw new TypeError(`Cannot stream: a tokenizer is required, received ${tokenizer}`);
    }
    this.#text = tokenizer.decodeStream({ skipSpecialTokens });
    this.#skipPrompt = skipPrompt;
    this.#onFinalizedText = onFinalizedText;
  }

  /** Takes the prompt. @throws {RangeError} for more than one row */
  begin(prompts: readonly (readonly number[])[]): void {
    this.#checkRows(prompts.length);
    if (this.#skipPrompt) return;
    this.#give(prompts[0].map((token) => this.#text.push(token)).join(""));
  }

  /** Takes a new token. @throws {RangeError} for more than one row */
  put(tokens: readonly number[]): void {
    this.#checkRows(tokens.length);
    this.#give(this.#text.push(tokens[0]));
  }

  /** Prints what was held back. */
  end(): void {
    this.#onFinalizedText(this.#text.flush(), true);
  }

  #give(text: string): void {
    if (text !== "") this.#onFinalizedText(text, false);
  }

  #checkRows(rows: number): void {
    if (rows === 1) return;
    throw new RangeError(`Cannot stream text: TextStreamer only supports batch size 1, received ${rows}`);
  }
}
