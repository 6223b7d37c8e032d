/**
 * What is kept of rows that are too long.
 * @module
 */

/** Which end of a row is kept that is too long. */
export type TruncationMode = "keep_start" | "keep_end";
