/**
 * The two names of a trainer's tokenizer: `tokenizer`, and `processingClass` as newer versions of `transformers` and TRL
 * call it.
 * @module
 */

/**
 * Options with the tokenizer under either name.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, type Tokenizer } from "@peft/webgpu";
 * import type { NamesTokenizer } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const newer: NamesTokenizer<Tokenizer> = { processingClass: tokenizer }; // as transformers and TRL call it
 * const older: NamesTokenizer<Tokenizer> = { tokenizer };
 * console.log(newer.processingClass === older.tokenizer); // true: trainers take either
 * ```
 */
export interface NamesTokenizer<Tokenizer> {
  /** The tokenizer. */
  tokenizer?: Tokenizer;
  /** The same, by the name that `transformers` and TRL have for it. */
  processingClass?: Tokenizer;
}

/** The options with the tokenizer under one name. @throws {TypeError} for two different ones */
export function oneTokenizer<Options extends NamesTokenizer<unknown>>(
  action: string,
  options: Options,
): Omit<Options, "processingClass"> {
  const { processingClass, ...others } = options;
  if (processingClass === undefined) return others;
  if (others.tokenizer !== undefined && others.tokenizer !== processingClass) {
    throw new TypeError(
      `Cannot ${action}: tokenizer and processingClass are two names of one thing, received two different ones`,
    );
  }
  return { ...others, tokenizer: processingClass };
}
