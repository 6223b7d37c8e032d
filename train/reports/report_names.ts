/**
 * Where the Trainer can report by itself.
 * @module
 */

/**
 * Names for `reportTo`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { ReportName } from "@peft/webgpu/train";
 *
 * const reportTo: ReportName[] = ["jsonl", "tensorboard"];
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const args = { outputDir: "out/reports", reportTo, maxSteps: 1, saveStrategy: "no" } as const;
 * await new Trainer({ model, trainDataset: [{ inputIds: [5, 6, 7] }], args }).train();
 * console.log([...Deno.readDirSync("out/reports")].map(({ name }) => name)); // run_log.jsonl, and TensorBoard's runs
 * ```
 */
export type ReportName = "console" | "jsonl" | "tensorboard";

/** Every one. */
export const REPORT_NAMES: readonly ReportName[] = ["console", "jsonl", "tensorboard"];
