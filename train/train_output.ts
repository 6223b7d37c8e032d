/**
 * What `train()` is asked and what it gives.
 * @module
 */

/**
 * Options of `Trainer.train()`.
 *
 * @example
 * ```ts
 * import { getLastCheckpoint, type Trainer } from "@peft/webgpu";
 * import type { TrainOptions } from "@peft/webgpu/train";
 *
 * // trains for an hour at most; the next call goes on from where this one ended
 * async function trainAnHour(trainer: Trainer) {
 *   const resumeFromCheckpoint = await getLastCheckpoint(trainer.args.outputDir!) ?? false;
 *   const options: TrainOptions = { resumeFromCheckpoint, signal: AbortSignal.timeout(3_600_000) };
 *   return await trainer.train(options);
 * }
 * ```
 */
export interface TrainOptions {
  /** Folder of a checkpoint, or true for the newest whole one of `outputDir`; default false: from the beginning. */
  resumeFromCheckpoint?: string | boolean;
  /** Ends the run after the step in progress, with a checkpoint if there is an `outputDir`. */
  signal?: AbortSignal;
}

/**
 * Result of `Trainer.train()`.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { TrainOutput } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const args = { maxSteps: 1, reportTo: "none" } as const;
 * const { aborted, stopReason, globalStep, metrics }: TrainOutput =
 *   await new Trainer({ model, trainDataset: [{ inputIds: [1, 2, 3] }], args }).train();
 * console.log(aborted ? "interrupted" : stopReason ?? `${globalStep} steps in ${metrics.trainRuntime} s`);
 * ```
 */
export interface TrainOutput {
  /** Optimizer steps done. */
  readonly globalStep: number;
  /** Mean loss of all steps but those that were skipped because they were not finite; NaN if all were. */
  readonly trainingLoss: number;
  /** Whether `signal` ended it. */
  readonly aborted: boolean;
  /** The checkpoint that was written because of that, or of a step that was not finite with `onNonFinite` "stop". */
  readonly checkpoint: string | null;
  /** What ended it before its last step; null for `signal`, and if nothing did. */
  readonly stopReason: string | null;
  /** `trainLoss`, `trainRuntime` in seconds, samples, steps and tokens per second, `epoch`. */
  readonly metrics: Readonly<Record<string, number>>;
}
