/**
 * The one special token of GPT-2: beginning, end and separator of texts.
 * @module
 */

/** Its text. */
export const END_OF_TEXT = "<|endoftext|>";
