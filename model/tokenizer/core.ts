/**
 * What a vocabulary must do for a tokenizer. `json.ts` reads any `tokenizer.json`; an architecture
 * whose vocabulary is built in has a file in its own folder.
 *
 * @module
 */

import type { JsonObject } from "../../io/json.ts";

/**
 * Turns ids into text while they arrive: text is returned once no later id can change it.
 *
 * @example
 * ```ts
 * import { AutoTokenizer } from "@peft/webgpu";
 * import type { DecodeStream } from "@peft/webgpu/tokenizer";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const stream: DecodeStream = tokenizer.decodeStream();
 * const pieces = tokenizer.encode("Ahoy, 船!").map((id) => stream.push(id)); // "" where a character is not whole yet
 * console.log([...pieces, stream.flush()].join("")); // Ahoy, 船!
 * ```
 */
export interface DecodeStream {
  /** Takes one id; returns the text that is now certain, often "". */
  push(id: number): string;
  /** Ends the stream; returns what was held back, with U+FFFD for incomplete characters. */
  flush(): string;
}

/** A vocabulary with its rules, on single texts. */
export interface TokenizerCore {
  /** One more than the greatest id. */
  readonly vocabSize: number;
  /** Token ids of a text; `addSpecialTokens`: with the vocabulary's own template. */
  encode(text: string, addSpecialTokens: boolean): number[];
  /** Text of ids; ids without a token add nothing. */
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  /** A decoder for ids that arrive one by one. */
  decodeStream(skipSpecialTokens: boolean): DecodeStream;
  /** The id of a token's text; undefined when there is none. */
  idOf(token: string): number | undefined;
  /** The token's text of an id; undefined when there is none. */
  tokenOf(id: number): string | undefined;
  /** UTF-8 bytes of the text that a token stands for. */
  tokenBytes(id: number): number;
  /** The text of `tokenizer.json`. */
  toJson(): string;
}

/** A vocabulary that is part of this library or of a package, so that nothing has to be downloaded. */
export interface BuiltInVocabulary {
  /** Hub ids of the models that use it. */
  readonly hubIds: readonly string[];
  /** The model's tokenizer_config.json. */
  readonly config: JsonObject;
  /** Special tokens that `vocab.json` and `merges.txt` do not mark as such. */
  readonly specialTokens: readonly string[];
  /** The vocabulary, loaded once. */
  load(): Promise<TokenizerCore>;
  /** Whether a `vocab.json` has exactly these tokens. */
  matches(vocab: JsonObject): Promise<boolean>;
}
