/**
 * Where a training run is, and how callbacks follow and steer it.
 * @module
 */

import type { TrainableModel } from "./trainable_model.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/**
 * Numbers of one log, with the step and epoch they belong to.
 *
 * @example
 * ```ts
 * import type { LogEntry, TrainerState } from "@peft/webgpu/train";
 *
 * // the learning curve, as pairs of a step and its loss
 * const curve = ({ logHistory }: TrainerState) =>
 *   logHistory.flatMap(({ step, loss }: LogEntry) => loss === undefined ? [] : [[step, loss]]);
 * ```
 */
export interface LogEntry {
  /** Optimizer steps done. */
  step: number;
  /** Epochs done, with fraction. */
  epoch: number;
  /** `loss`, `gradNorm`, `learningRate`, or `evalLoss`, `perplexity`, … */
  [metric: string]: number;
}

/**
 * A text that the model wrote while it trained (see `SampleCallback`).
 *
 * @example
 * ```ts
 * import type { Sample, TrainerCallback } from "@peft/webgpu/train";
 *
 * const line = ({ step, prompt, text }: Sample) => `step ${step}: ${prompt}${text}`;
 * const print: TrainerCallback = {
 *   onSample: (_args, _state, _control, { samples = [] }) => samples.forEach((sample) => console.log(line(sample))),
 * };
 * console.log(line({ step: 100, epoch: 0.5, prompt: "The sea", text: " be calm." })); // step 100: The sea be calm.
 * ```
 */
export interface Sample {
  /** Optimizer steps done. */
  readonly step: number;
  /** Epochs done, with fraction. */
  readonly epoch: number;
  /** What it continued. */
  readonly prompt: string;
  /** What it wrote. */
  readonly text: string;
}

/**
 * Where a run is.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { TrainerState } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = [{ inputIds: [1, 2, 3] }, { inputIds: [4, 5, 6] }];
 * const trainer = new Trainer({ model, trainDataset, args: { maxSteps: 1, reportTo: "none" } });
 * await trainer.train();
 * const { globalStep, maxSteps, numInputTokensSeen }: TrainerState = trainer.state;
 * console.log(`${globalStep} of ${maxSteps} steps, ${numInputTokensSeen} tokens`);
 * ```
 */
export interface TrainerState {
  /** Optimizer steps done. */
  globalStep: number;
  /** Epochs done, with fraction. */
  epoch: number;
  /** Optimizer steps of the whole run. */
  maxSteps: number;
  /** Epochs that are at least begun in the whole run. */
  numTrainEpochs: number;
  /** Input tokens without padding, since the beginning of the run, also before it was resumed. */
  numInputTokensSeen: number;
  /** Tokens per second since `train()` was called. */
  tokensPerSecond: number;
  /** Every log. */
  logHistory: LogEntry[];
  /** What the model wrote on the way. */
  samples: Sample[];
  /** The best `metricForBestModel` so far; null before the first evaluation. */
  bestMetric: number | null;
  /** Step of that evaluation; null before it. */
  bestGlobalStep: number | null;
  /** Checkpoint of that step; null until it is saved. */
  bestModelCheckpoint: string | null;
}

/** The state of a run that has not begun. */
export function newState(maxSteps = 0, numTrainEpochs = 0): TrainerState {
  return {
    globalStep: 0,
    epoch: 0,
    maxSteps,
    numTrainEpochs,
    numInputTokensSeen: 0,
    tokensPerSecond: 0,
    logHistory: [],
    samples: [],
    bestMetric: null,
    bestGlobalStep: null,
    bestModelCheckpoint: null,
  };
}

/**
 * What a callback may ask for; each is done once and cleared, but a stop.
 *
 * @example
 * ```ts
 * import type { TrainerCallback, TrainerControl } from "@peft/webgpu/train";
 *
 * // ends a run at a time of day, with a checkpoint of its last step
 * const until = (end: Date): TrainerCallback => ({
 *   onStepEnd(_args, _state, control: TrainerControl) {
 *     if (new Date() < end) return;
 *     control.shouldSave = control.shouldTrainingStop = true;
 *     control.stopReason = `it is ${end.toLocaleTimeString()}`;
 *   },
 * });
 * ```
 */
export interface TrainerControl {
  /** Stop after this step. */
  shouldTrainingStop: boolean;
  /** Log after this step. */
  shouldLog: boolean;
  /** Evaluate after this step. */
  shouldEvaluate: boolean;
  /** Save a checkpoint after this step. */
  shouldSave: boolean;
  /** Why `shouldTrainingStop` was set; part of the result of `train()`. */
  stopReason: string | null;
}

/**
 * What a callback is given besides state and control.
 *
 * @example
 * ```ts
 * import type { CallbackExtra, TrainerCallback } from "@peft/webgpu/train";
 *
 * const say = ({ checkpoint, stopReason }: CallbackExtra) => console.log(checkpoint ?? stopReason ?? "done");
 * const follow: TrainerCallback = {
 *   onSave: (_args, _state, _control, extra) => say(extra),
 *   onTrainEnd: (_args, _state, _control, extra) => say(extra),
 * };
 * ```
 */
export interface CallbackExtra {
  /** The model in training. */
  readonly model: TrainableModel;
  /** Numbers just logged or evaluated. */
  readonly logs?: Readonly<Record<string, number>>;
  /** Folder just saved. */
  readonly checkpoint?: string;
  /** Texts just written. */
  readonly samples?: readonly Sample[];
  /** At the end of training: what ended it before its last step; null for the signal, and if nothing did. */
  readonly stopReason?: string | null;
}

/**
 * A moment of a run.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { CallbackMoment } from "@peft/webgpu/train";
 *
 * const onLog: CallbackMoment = (_args, { globalStep }, _control, { logs }) => console.log(globalStep, logs?.loss);
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const args = { maxSteps: 1, loggingSteps: 1, reportTo: "none" } as const;
 * await new Trainer({ model, trainDataset: [{ inputIds: [1, 2, 3] }], args, callbacks: [{ onLog }] }).train();
 * ```
 */
export type CallbackMoment = (
  args: TrainingArguments,
  state: Readonly<TrainerState>,
  control: TrainerControl,
  extra: CallbackExtra,
) => void | Promise<void>;

/**
 * Follows a run; every moment is optional.
 *
 * @example
 * ```ts
 * import type { TrainerCallback } from "@peft/webgpu";
 *
 * // remembers the lowest loss, also in a run that is resumed
 * class LowestLoss implements TrainerCallback {
 *   readonly name = "LowestLoss";
 *   lowest = Infinity;
 *   stateDict = () => ({ lowest: this.lowest });
 *   loadStateDict = (state: Record<string, unknown>) => void (this.lowest = Number(state.lowest));
 *   onLog: TrainerCallback["onLog"] = (_args, _state, _control, { logs }) =>
 *     void (this.lowest = Math.min(this.lowest, logs?.loss ?? Infinity));
 * }
 * console.log(new LowestLoss().stateDict()); // { lowest: Infinity }
 * ```
 */
export interface TrainerCallback {
  /** Name under which a checkpoint keeps the state below; needed with it. */
  readonly name?: string;
  /** What a resumed run needs: plain JSON. */
  stateDict?(): Record<string, unknown>;
  /** Continues from it. */
  loadStateDict?(state: Record<string, unknown>): void;
  /** Before the first step. */
  onTrainBegin?: CallbackMoment;
  /** Between each optimizer step and the end of its gradients; `state.globalStep` counts the steps before it. */
  onOptimizerStep?: CallbackMoment;
  /** After each optimizer step; the device may still be working on it. */
  onStepEnd?: CallbackMoment;
  /** After each epoch. */
  onEpochEnd?: CallbackMoment;
  /** After each log; `extra.logs`. */
  onLog?: CallbackMoment;
  /** After each evaluation; `extra.logs`. */
  onEvaluate?: CallbackMoment;
  /** After the model wrote texts for a `SampleCallback`; `extra.samples`. */
  onSample?: CallbackMoment;
  /** After each checkpoint; `extra.checkpoint`. */
  onSave?: CallbackMoment;
  /** At the end, also of a run that was stopped; `extra.logs`, `extra.stopReason`. */
  onTrainEnd?: CallbackMoment;
}
