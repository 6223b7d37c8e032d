/**
 * What is kept of rows that are too long.
 * @module
 */

/**
 * Which end of a row is kept that is too long.
 *
 * @example
 * ```ts
 * import { SFTConfig } from "@peft/webgpu";
 * import type { TruncationMode } from "@peft/webgpu/train";
 *
 * const truncationMode: TruncationMode = "keep_end"; // of long conversations, the last answers count
 * console.log(new SFTConfig({ maxLength: 512, truncationMode }).truncationMode);
 * ```
 */
export type TruncationMode = "keep_start" | "keep_end";
