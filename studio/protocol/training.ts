/**
 * What a training tells.
 * @module
 */

import type { AdapterInfo } from "./adapters.ts";
import type { StudioError } from "./basics.ts";
import type { TrainingSettings } from "./settings.ts";

export type TrainEvent =
  | {
    readonly type: "begin";
    readonly runId: string;
    readonly settings: TrainingSettings;
    /** Where it starts, other than 0 when it goes on from a checkpoint; earlier steps are in `history`. */
    readonly step: number;
    readonly steps: number;
    readonly trainableParameters: number;
    readonly parameters: number;
    readonly history: readonly TrainEvent[];
  }
  | {
    readonly type: "phase";
    readonly phase:
      | "preparing"
      | "compiling"
      | "training"
      | "evaluating"
      | "sampling"
      | "saving"
      | "pausing"
      | "paused"
      | "recovering";
    readonly text: string;
  }
  | {
    readonly type: "step";
    readonly step: number;
    readonly epoch: number;
    /** Mean over the step's learned tokens, in nats. */
    readonly loss: number;
    readonly learningRate: number;
    readonly gradNorm: number;
    readonly tokensPerSecond: number;
    readonly tokensSeen: number;
    /** The highest that the device held in this step, and in all so far. */
    readonly deviceBytes: number;
    readonly peakDeviceBytes: number;
    readonly stepMs: number;
    /** null until two steps are done. */
    readonly leftMs: number | null;
  }
  | { readonly type: "evaluation"; readonly step: number; readonly loss: number; readonly perplexity: number }
  | {
    readonly type: "sample";
    readonly step: number;
    readonly prompt: string;
    /** What the model writes after the prompt. */
    readonly text: string;
    /** A fixed example of the data (held out, if there is any) with each token's loss; null where it is not learned. */
    readonly tokens: readonly { readonly text: string; readonly loss: number | null }[];
  }
  | { readonly type: "checkpoint"; readonly step: number; readonly bytes: number; readonly takenMs: number }
  /** The training goes on; the newest whole checkpoint stays. */
  | { readonly type: "checkpointFailed"; readonly step: number; readonly error: StudioError };

export interface TrainingResult {
  readonly runId: string;
  /** "stopped": by `stop`. */
  readonly end: "done" | "stopped";
  readonly step: number;
  readonly loss: number;
  readonly evalLoss: number | null;
  readonly takenMs: number;
  /** null when it was stopped without keeping. */
  readonly adapter: AdapterInfo | null;
}

export interface ResumableRun {
  readonly runId: string;
  readonly name: string;
  readonly modelName: string;
  readonly dataName: string;
  readonly step: number;
  readonly steps: number;
  /** Milliseconds since 1970. */
  readonly savedAt: number;
  readonly bytes: number;
  readonly settings: TrainingSettings;
  readonly loss: number | null;
  /** Dropped model files must be dropped again, as `files` of `resumeRun`: these. Empty where the engine has all. */
  readonly needsFiles: readonly string[];
}
