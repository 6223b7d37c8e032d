/**
 * Where the Trainer can report by itself.
 * @module
 */

/**
 * Names for `reportTo`.
 *
 * @example
 * ```ts
 * import { TrainingArguments } from "@peft/webgpu";
 * import type { ReportName } from "@peft/webgpu/train";
 *
 * const reportTo: ReportName[] = ["console", "tensorboard"];
 * console.log(new TrainingArguments({ outputDir: "out/pirate", reportTo }).reportTo);
 * ```
 */
export type ReportName = "console" | "jsonl" | "tensorboard";

/** Every one. */
export const REPORT_NAMES: readonly ReportName[] = ["console", "jsonl", "tensorboard"];
