/**
 * Where the Trainer can report by itself.
 * @module
 */

/** Names for `reportTo`. */
export const REPORT_NAMES = ["console", "jsonl", "tensorboard"] as const;

/** One of them. */
export type ReportName = typeof REPORT_NAMES[number];
