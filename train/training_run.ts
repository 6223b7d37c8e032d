/**
 * One run of the Trainer: its optimizer, schedule and data, and the step.
 * @module
 */

import {
  add,
  type CapturedStep,
  captureStep,
  type Device,
  noGrad,
  type Tensor,
  tidy,
  withHalfActivations,
} from "../autograd/mod.ts";
import { gradNorm } from "../autograd/ops/grad_norm.ts";
import { LossTally } from "../autograd/ops/loss_tally.ts";
import { AdamW, AdamW8bit } from "./optimizers/adamw.ts";
import type { DataOrder, LossSums, RunParts } from "./checkpoint.ts";
import type { Dataset } from "./data/example.ts";
import { type Batch, countItems, countTokens, type DataCollator, DataLoader } from "./data/data_loader.ts";
import { getScheduler, type LRScheduler } from "./optimizers/lr_scheduler.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import { SGD } from "./optimizers/sgd.ts";
import {
  decayGroups,
  lossOf,
  randomStates,
  type TrainableModel,
  trainableParameters,
} from "./trainable_model.ts";
import type { TrainerCallback, TrainerState } from "./trainer_state.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** What a run is made of. */
export interface RunOptions {
  readonly model: TrainableModel;
  readonly args: TrainingArguments;
  readonly dataset: Dataset;
  readonly collate: DataCollator;
  /** Those of the caller; null for those that `args` describe. */
  readonly optimizer: Optimizer | null;
  readonly scheduler: LRScheduler | null;
  /** Followers whose state a checkpoint keeps. */
  readonly callbacks: readonly TrainerCallback[];
}

function makeOptimizer(model: TrainableModel, args: TrainingArguments): Optimizer {
  const groups = decayGroups(model, args.weightDecay);
  if (args.optim === "sgd") return new SGD(groups, { lr: args.learningRate });
  const Adam = args.optim === "adamw_torch" ? AdamW : AdamW8bit;
  return new Adam(groups, {
    lr: args.learningRate,
    betas: [args.adamBeta1, args.adamBeta2],
    eps: args.adamEpsilon,
  });
}

/** A batch without padding, on the host or on the device. */
interface BatchOf<Rows> {
  readonly inputIds: Rows;
  readonly labels: Rows;
  readonly attentionMask?: Rows;
}

/** A run in progress. */
export class TrainingRun implements RunParts {
  readonly model: TrainableModel;
  readonly optimizer: Optimizer;
  readonly scheduler: LRScheduler;
  readonly data: DataOrder;
  readonly callbacks: readonly TrainerCallback[];
  readonly losses: LossSums = { sinceLog: 0, loggedStep: 0, total: 0 };
  readonly state: TrainerState;
  readonly loader: DataLoader;
  readonly device: Device;
  /** Optimizer steps an epoch. */
  readonly stepsPerEpoch: number;
  /** Gradient norm of the last step that was read back. */
  gradNorm = 0;
  /** Learning rate of the last step. */
  learningRate = 0;
  /** Steps whose losses were not read back yet. */
  unread = 0;
  readonly #args: TrainingArguments;
  readonly #parameters: readonly Tensor[];
  readonly #tally: LossTally;
  readonly #captured: CapturedStep<string>;
  readonly #begin = performance.now();
  readonly #ownsOptimizer: boolean;
  #startStep = 0;
  #startTokens = 0;

  /** @throws {RangeError} for an empty dataset @throws {TypeError} if no parameter trains */
  constructor({ model, args, dataset, collate, optimizer, scheduler, callbacks }: RunOptions) {
    this.model = model;
    this.callbacks = callbacks;
    this.#args = args;
    this.#parameters = [...trainableParameters(model).values()];
    if (this.#parameters.length === 0) {
      throw new TypeError(
        "Cannot train: at least one parameter with requiresGrad is required, received none",
      );
    }
    this.loader = new DataLoader(dataset, {
      batchSize: args.perDeviceTrainBatchSize,
      shuffle: args.trainSamplingStrategy !== "sequential",
      seed: args.seed,
      dropLast: args.dataloaderDropLast,
      groupByLength: args.trainSamplingStrategy === "group_by_length",
      collate,
    });
    this.data = {
      seed: args.seed,
      examples: dataset.length,
      batchSize: args.perDeviceTrainBatchSize,
      gradientAccumulationSteps: args.gradientAccumulationSteps,
      dropLast: args.dataloaderDropLast,
      trainSamplingStrategy: args.trainSamplingStrategy,
    };
    this.stepsPerEpoch = Math.ceil(this.loader.length / args.gradientAccumulationSteps);
    const maxSteps = args.maxSteps > 0 ? args.maxSteps : Math.ceil(args.numTrainEpochs * this.stepsPerEpoch);
    this.state = {
      globalStep: 0,
      epoch: 0,
      maxSteps,
      numTrainEpochs: Math.ceil(maxSteps / this.stepsPerEpoch),
      numInputTokensSeen: 0,
      tokensPerSecond: 0,
      logHistory: [],
      bestMetric: null,
      bestGlobalStep: null,
      bestModelCheckpoint: null,
    };
    for (const random of randomStates(model)) random.seed = args.seed;
    this.#zeroGrad();
    this.#ownsOptimizer = optimizer === null;
    this.optimizer = optimizer ?? makeOptimizer(model, args);
    this.scheduler = scheduler ?? getScheduler(args.lrSchedulerType, this.optimizer, {
      numWarmupSteps: args.getWarmupSteps(maxSteps),
      numTrainingSteps: maxSteps,
      ...args.lrSchedulerKwargs,
    });
    this.device = this.#parameters[0].device;
    this.#tally = new LossTally(this.device);
    // One record at most, and none that is larger than what the pool keeps idle: a run needs no more memory for it.
    const options = { verify: true, yields: true, maxReservedBytes: 0 };
    this.#captured = captureStep(this.device, (inputs) => this.#recordedBody(inputs), options);
  }

  /** Counts speed from here on: after the state was restored, before the first step. */
  start(): void {
    this.#startStep = this.state.globalStep;
    this.#startTokens = this.state.numInputTokensSeen;
  }

  /** Forward, backward and update of one optimizer step on `batches`; gradients stay. Nothing waits for the device. */
  step(batches: readonly Batch[]): void {
    const { state } = this;
    const number = state.globalStep + 1;
    const items = batches.reduce((sum, batch) => sum + countItems(batch), 0);
    if (items === 0) {
      throw new RangeError(
        `Cannot train step ${number}: at least one label after the first of its row is required, all others being -100`,
      );
    }
    this.learningRate = this.optimizer.paramGroups[0].lr;
    const used = batches.filter((batch) => countItems(batch) > 0);
    const inputs = this.#recordable(used);
    if (inputs) this.#captured(inputs);
    else tidy(() => void this.#work(used, items));
  }

  /**
   * The batches as inputs of a captured step, or null where one cannot stand for all of their shapes: the model or the
   * optimizer may do other work in each step, there is a mask, or not all labels count, so that their number differs.
   */
  #recordable(batches: readonly Batch[]): Record<string, number[][]> | null {
    const { model, optimizer } = this;
    if (!model.isCapturable || !(optimizer instanceof AdamW || optimizer instanceof SGD)) return null;
    const inputs: Record<string, number[][]> = {};
    for (const [i, batch] of batches.entries()) {
      const { inputIds, labels, attentionMask, ...others } = batch;
      const [rows, length] = [inputIds.length, inputIds[0].length];
      const isWhole = countItems(batch) === rows * (length - 1) &&
        labels.every((row) => row.length === length);
      if (attentionMask || !isWhole || Object.keys(others).length > 0) return null;
      Object.assign(inputs, { [`inputIds${i}`]: inputIds, [`labels${i}`]: labels });
    }
    return inputs;
  }

  /** A step as `captureStep` runs it. */
  #recordedBody(inputs: Readonly<Record<string, Tensor>>): Tensor {
    const count = Object.keys(inputs).length / 2;
    const batches = Array.from({ length: count }, (_, i) => ({
      inputIds: inputs[`inputIds${i}`],
      labels: inputs[`labels${i}`],
    }));
    const items = batches.reduce(
      (sum, { labels: { shape: [rows, length] } }) => sum + rows * (length - 1),
      0,
    );
    return tidy(() => this.#work(batches, items));
  }

  /** Gives the memory of recorded steps back: before other work, such as an evaluation. */
  forgetRecords(): void {
    this.#captured.dispose();
  }

  #work(batches: readonly BatchOf<number[][] | Tensor>[], items: number): Tensor {
    const loss = this.#accumulate(batches, items);
    const grads = this.#parameters.flatMap(({ grad }) => grad ? [grad] : []);
    const { clip } = gradNorm(grads, this.#args.maxGradNorm > 0 ? this.#args.maxGradNorm : Infinity);
    this.optimizer.step({ clip });
    this.#tally.prepare(() => this.state.globalStep + 1);
    this.#tally.add(loss, clip);
    return loss;
  }

  /** Ends the step of `batches`: gradients go, the counters go on. */
  finishStep(batches: readonly Batch[]): void {
    const { state } = this;
    this.scheduler.step();
    this.optimizer.zeroGrad();
    for (const batch of batches) state.numInputTokensSeen += countTokens(batch);
    state.globalStep++;
    state.tokensPerSecond = (state.numInputTokensSeen - this.#startTokens) / this.#seconds();
    this.unread++;
  }

  /** Adds up the gradients of `batches`, and gives their loss; `items` is the number of their labels. */
  #accumulate(batches: readonly BatchOf<number[][] | Tensor>[], items: number): Tensor {
    const parts = batches.map((batch) =>
      tidy(() => {
        const forward = () => lossOf(this.model, batch as Batch, items); // with tensors only if the model takes them
        const loss = this.#args.fp16 ? withHalfActivations(forward) : forward();
        loss.backward();
        return loss.detach();
      })
    );
    return noGrad(() => parts.reduce((sum, part) => add(sum, part)));
  }

  /**
   * Reads the losses back.
   * @throws {Error} naming the first step that was not finite, if that is an error
   */
  async readLosses(): Promise<void> {
    if (this.unread === 0) return;
    const report = await this.#tally.read();
    this.#tally.reset();
    this.unread = 0;
    if (report.badSteps > 0 && this.#args.onNonFinite === "error") {
      throw new Error(
        `Cannot go on training: a finite loss and finite gradients are required, received others at step ${report.firstBadStep}, which changed no weight; lower learningRate, or set onNonFinite to "skip"`,
      );
    }
    this.losses.sinceLog += report.lossSum;
    this.gradNorm = report.gradNorm;
  }

  /** Closes the logging window; the mean loss of its steps. */
  closeWindow(): number {
    const { losses, state } = this;
    const mean = losses.sinceLog / Math.max(1, state.globalStep - losses.loggedStep);
    losses.total += losses.sinceLog;
    losses.sinceLog = 0;
    losses.loggedStep = state.globalStep;
    return mean;
  }

  /** `trainLoss` and speeds of the run since `start()`. */
  metrics(): Record<string, number> {
    const { state } = this;
    const steps = state.globalStep - this.#startStep;
    const rows = this.data.batchSize * this.data.gradientAccumulationSteps;
    const seconds = this.#seconds();
    return {
      trainLoss: this.losses.total / Math.max(1, state.globalStep),
      trainRuntime: seconds,
      trainSamplesPerSecond: steps * rows / seconds,
      trainStepsPerSecond: steps / seconds,
      trainTokensPerSecond: (state.numInputTokensSeen - this.#startTokens) / seconds,
      epoch: state.epoch,
    };
  }

  /** Gives device memory back, but what the caller owns. */
  dispose(): void {
    this.#zeroGrad();
    this.#captured.dispose();
    this.#tally.dispose();
    if (this.#ownsOptimizer) this.optimizer.dispose();
  }

  #seconds(): number {
    return Math.max(1e-3, (performance.now() - this.#begin) / 1000);
  }

  #zeroGrad(): void {
    for (const parameter of this.#parameters) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  }
}
