/**
 * Follows a training: tells the page of every step, and lets it pause.
 * @module
 */

import type { Device, Tokenizer, TrainerCallback } from "@peft/webgpu";
import {
  type CallbackExtra,
  type Example,
  type LogEntry,
  tokenLosses,
  type TrainerControl,
  type TrainerState,
  type TrainingArguments,
} from "@peft/webgpu/train";
import type { TrainEvent, TrainingSettings } from "../protocol.ts";

/** Steps whose times the estimate of what is left is made of. */
const WINDOW = 20;

type Step = Extract<TrainEvent, { type: "step" }>;
type Sample = Extract<TrainEvent, { type: "sample" }>;
type Phase = Extract<TrainEvent, { type: "phase" }>["phase"];

/** What only this callback knows of a step: for a run that goes on. */
type Speeds = Pick<Step, "tokensPerSecond" | "tokensSeen" | "deviceBytes" | "peakDeviceBytes" | "stepMs">;

const SPEEDS = ["tokensPerSecond", "tokensSeen", "deviceBytes", "peakDeviceBytes", "stepMs"] as const;

/** What it is told once. */
export interface FollowerOptions {
  readonly runId: string;
  readonly settings: TrainingSettings;
  readonly device: Device;
  readonly tokenizer: Tokenizer;
  readonly parameters: number;
  readonly trainableParameters: number;
  /** Whose tokens' losses are shown. */
  readonly example: Example;
  readonly emit: (event: TrainEvent) => void;
  /** Resolves at once, or when a pause ends. Called after a checkpoint. */
  readonly waitWhilePaused: (step: number) => Promise<void>;
  /** Whether a pause is asked for. */
  readonly wantsPause: () => boolean;
  /** Told of each checkpoint, with the loss of its step. */
  readonly onCheckpoint: (step: number, loss: number | null, takenMs: number) => Promise<void>;
}

/** The callback. */
export class TrainFollower implements TrainerCallback {
  readonly name = "studio";
  readonly #options: FollowerOptions;
  #speeds: Speeds[] = [];
  #samples: Sample[] = [];
  #times: number[] = [];
  #mark = performance.now();
  /** When this step's own work was done and samples began. */
  #stepDone: number | null = null;
  #saveBegan = 0;
  #tokensBefore = 0;
  #peakBytes = 0;
  #loss: number | null = null;
  #evalLoss: number | null = null;

  /** Nothing is told yet. */
  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** The loss of the last step; null before the first. */
  get loss(): number | null {
    return this.#loss;
  }

  /** That of the last evaluation. */
  get evalLoss(): number | null {
    return this.#evalLoss;
  }

  /** What a checkpoint keeps. */
  stateDict(): Record<string, unknown> {
    const speeds = this.#speeds.map((speed) => SPEEDS.map((name) => Math.round(speed[name])).join()).join(
      ";",
    );
    return { speeds, samples: this.#samples };
  }

  /** Goes on from it. */
  loadStateDict(state: Record<string, unknown>): void {
    const rows = String(state.speeds) === "" ? [] : String(state.speeds).split(";");
    this.#speeds = rows.map((row) => {
      const values = row.split(",").map(Number);
      return Object.fromEntries(SPEEDS.map((name, i) => [name, values[i]])) as unknown as Speeds;
    });
    this.#samples = state.samples as Sample[];
  }

  /** Tells that it begins, with what an earlier part of the run has told. */
  onTrainBegin(_args: TrainingArguments, state: Readonly<TrainerState>): void {
    const { runId, settings, parameters, trainableParameters, emit } = this.#options;
    this.#tokensBefore = state.numInputTokensSeen;
    const history = state.logHistory.flatMap((entry) => this.#historyOf(entry));
    const events = [...history, ...this.#samples].sort((a, b) => a.step - b.step);
    const last = history.findLast((event): event is Step => event.type === "step");
    this.#loss = last?.loss ?? null;
    emit({
      ...{ type: "begin", runId, settings, step: state.globalStep, steps: state.maxSteps, history: events },
      ...{ parameters, trainableParameters },
    });
    this.#peakBytes = Math.max(0, ...this.#speeds.map(({ deviceBytes }) => deviceBytes));
    this.#options.device.resetPeakMemory();
    this.#phase("compiling", "Compiling the kernels for the first step");
    this.#mark = performance.now();
  }

  /** Tells of long work that follows, and asks for a checkpoint where a pause is wanted. */
  async onStepEnd(
    _args: TrainingArguments,
    { globalStep: step, maxSteps }: Readonly<TrainerState>,
    control: TrainerControl,
  ): Promise<void> {
    const { settings: { evalEvery, sampleEvery, checkpointEvery }, wantsPause, device } = this.#options;
    const isLast = step === maxSteps;
    if (sampleEvery > 0 && step % sampleEvery === 0) {
      await device.sync(); // else the samples' time would hold the step's
      this.#stepDone = performance.now();
      this.#phase("sampling", "Writing samples");
    }
    if (evalEvery > 0 && isLast) control.shouldEvaluate = true;
    if (wantsPause()) control.shouldSave = true;
    if (control.shouldSave || checkpointEvery > 0 && step % checkpointEvery === 0) {
      this.#saveBegan = performance.now();
    }
  }

  /** Tells of a step. */
  onLog(
    _args: TrainingArguments,
    state: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): void {
    const { device, emit, settings: { evalEvery } } = this.#options;
    const { globalStep: step, maxSteps, epoch, numInputTokensSeen: tokensSeen } = state;
    const stepMs = Math.max(0.01, (this.#stepDone ?? performance.now()) - this.#mark);
    this.#stepDone = null;
    // most of what a step takes is given back before it ends
    const { peakBytes: deviceBytes } = device.memory;
    device.resetPeakMemory();
    const peakDeviceBytes = this.#peakBytes = Math.max(this.#peakBytes, deviceBytes);
    const tokensPerSecond = 1000 * (tokensSeen - this.#tokensBefore) / stepMs;
    this.#tokensBefore = tokensSeen;
    this.#times = [...this.#times, stepMs].slice(-WINDOW);
    const times = this.#times.slice(1); // the first one compiled
    const leftMs = times.length === 0
      ? null
      : (maxSteps - step) * times.reduce((sum, time) => sum + time, 0) / times.length;
    const speeds = { tokensPerSecond, tokensSeen, deviceBytes, peakDeviceBytes, stepMs };
    this.#speeds.push(speeds);
    this.#loss = logs.loss;
    emit({
      ...{ type: "step", step, epoch, loss: logs.loss, learningRate: logs.learningRate },
      ...{ gradNorm: logs.gradNorm, ...speeds, leftMs },
    });
    if (evalEvery > 0 && (step % evalEvery === 0 || step === maxSteps)) {
      this.#phase("evaluating", "Measuring the loss of held-out rows");
    } else this.#phase("training", "Training");
    this.#mark = performance.now();
  }

  /** Tells of an evaluation. */
  onEvaluate(
    _args: TrainingArguments,
    { globalStep: step }: Readonly<TrainerState>,
    _control: TrainerControl,
    { logs = {} }: CallbackExtra,
  ): void {
    this.#evalLoss = logs.evalLoss;
    this.#options.emit({ type: "evaluation", step, loss: logs.evalLoss, perplexity: logs.perplexity });
    this.#phase("training", "Training");
    this.#saveBegan = this.#mark = performance.now();
  }

  /** Tells of texts that the model wrote, with the losses of an example's tokens. */
  async onSample(
    _args: TrainingArguments,
    { globalStep: step }: Readonly<TrainerState>,
    _control: TrainerControl,
    { model, samples = [] }: CallbackExtra,
  ): Promise<void> {
    const { example, tokenizer, emit } = this.#options;
    const tokens = await tokenLosses(model, example, (ids) => tokenizer.decode(ids));
    for (const { prompt, text } of samples) {
      const event: Sample = { type: "sample", step, prompt, text, tokens };
      this.#samples.push(event);
      emit(event);
    }
    if (step === 0) this.#mark = performance.now();
  }

  /** Tells of a checkpoint, and waits where a pause is wanted. */
  async onSave(_args: TrainingArguments, { globalStep: step }: Readonly<TrainerState>): Promise<void> {
    const { onCheckpoint, waitWhilePaused, wantsPause } = this.#options;
    await onCheckpoint(step, this.#loss, performance.now() - this.#saveBegan);
    if (wantsPause()) {
      this.#phase("paused", `Paused after step ${step}`);
      await waitWhilePaused(step);
      this.#phase("training", "Training");
    }
    this.#mark = performance.now();
  }

  #phase(phase: Phase, text: string): void {
    this.#options.emit({ type: "phase", phase, text });
  }

  #historyOf(
    { step, epoch, loss, learningRate, gradNorm, evalLoss, perplexity }: LogEntry,
  ): (Step | Extract<TrainEvent, { type: "evaluation" }>)[] {
    if (evalLoss !== undefined) return [{ type: "evaluation", step, loss: evalLoss, perplexity }];
    const speeds = this.#speeds[step - 1];
    if (loss === undefined || !speeds) return [];
    return [{ type: "step", step, epoch, loss, learningRate, gradNorm, ...speeds, leftMs: null }];
  }
}
