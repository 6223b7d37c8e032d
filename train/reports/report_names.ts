/**
 * Where the Trainer can report by itself.
 * @module
 */

/** Names for `reportTo`. */
export type ReportName = "console" | "jsonl" | "tensorboard";

/** Every one. */
export const REPORT_NAMES: readonly ReportName[] = ["console", "jsonl", "tensorboard"];
