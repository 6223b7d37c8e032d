/**
 * What `train()` is asked and what it gives.
 * @module
 */

/** Options of `Trainer.train()`. */
export interface TrainOptions {
  /** Folder of a checkpoint, or true for the newest whole one of `outputDir`; default false: from the beginning. */
  resumeFromCheckpoint?: string | boolean;
  /** Ends the run after the step in progress, with a checkpoint if there is an `outputDir`. */
  signal?: AbortSignal;
}

/** Result of `Trainer.train()`. */
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
