/**
 * Names of the formats of few bits, known before the files that say how they are read.
 * @module
 */

/** Name of one of GGUF's block formats, in small letters: ggml's are in capitals. */
export type GgufFormatName =
  | "q4_0"
  | "q4_1"
  | "q5_0"
  | "q5_1"
  | "q8_0"
  | "q4_k"
  | "q5_k"
  | "q6_k"
  | "iq4_nl";

/** Name of one of bitsandbytes' formats. */
export type BitsandbytesFormatName = "nf4" | "nf4_double" | "fp4" | "fp4_double" | "int8";

/** GGUF's block formats. */
export const GGUF_NAMES: readonly GgufFormatName[] = [
  "q4_0",
  "q4_1",
  "q5_0",
  "q5_1",
  "q8_0",
  "q4_k",
  "q5_k",
  "q6_k",
  "iq4_nl",
];

/** bitsandbytes' formats. */
export const BITSANDBYTES_NAMES: readonly BitsandbytesFormatName[] = [
  "nf4",
  "nf4_double",
  "fp4",
  "fp4_double",
  "int8",
];
