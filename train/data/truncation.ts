/**
 * What is kept of rows that are too long.
 * @module
 */

/**
 * Which end of a row is kept that is too long.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, RowDataset, SFTConfig } from "@peft/webgpu";
 * import { SFTDataset, type TruncationMode } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const rows = RowDataset.from([{ text: "Once upon a time there was a dog." }]);
 * for (const truncationMode of ["keep_start", "keep_end"] satisfies TruncationMode[]) {
 *   const config = new SFTConfig({ maxLength: 6, truncationMode });
 *   const dataset = new SFTDataset(rows, tokenizer, { ...config, maxPositions: 128, needsLengths: false });
 *   await dataset.prepare();
 *   console.log(tokenizer.decode((await dataset.at(0))!.inputIds)); // "Once upon a time there was", " there was a dog.<|endoftext|>"
 * }
 * ```
 */
export type TruncationMode = "keep_start" | "keep_end";
