/**
 * One run of the Trainer: its optimizer, schedule and data, and the step.
 * @module
 */

import {
  add,
  type CapturedStep,
  captureStep,
  type Device,
  empty,
  noGrad,
  Tensor,
  tidy,
  untracked,
  withHalfActivations,
} from "../autograd/mod.ts";
import type { GradientExchange } from "./gradient_exchange.ts";
import { gradNorm } from "../autograd/ops/grad_norm.ts";
import { LossTally } from "../autograd/ops/loss_tally.ts";
import type { DataOrder, LossSums, RunParts } from "./checkpoint.ts";
import type { Dataset } from "./data/example.ts";
import { type Batch, countTokens, type DataCollator, DataLoader } from "./data/data_loader.ts";
import { getScheduler, type LRScheduler } from "./optimizers/lr_scheduler.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import { optimizerOf } from "./optimizers/optimizer_of.ts";
import { type BatchLoss, type CaptureInputs, MODEL_LOSS, type Objective } from "./objective.ts";
import { randomStates, type TrainableModel, trainableParameters, zeroGrad } from "./trainable_model.ts";
import { newState, type TrainerCallback, type TrainerState } from "./trainer_state.ts";
import type { TrainingArguments } from "./training_arguments.ts";

/** What a run is made of. */
export interface RunOptions {
  readonly model: TrainableModel;
  readonly args: TrainingArguments;
  readonly dataset: Dataset;
  readonly collate: DataCollator;
  /** What is minimised; default the model's own loss. */
  readonly objective?: Objective;
  /** Those of the caller; null for those that `args` describe. */
  readonly optimizer: Optimizer | null;
  readonly scheduler: LRScheduler | null;
  /** Followers whose state a checkpoint keeps. */
  readonly callbacks: readonly TrainerCallback[];
}

/** The mean loss of steps but for the skipped ones; NaN if all were skipped, 0 for no step at all. */
function mean(sum: number, steps: number, skipped: number): number {
  return steps === 0 ? 0 : steps === skipped ? NaN : sum / (steps - skipped);
}

/** A run in progress. */
export class TrainingRun implements RunParts {
  readonly model: TrainableModel;
  readonly optimizer: Optimizer;
  readonly scheduler: LRScheduler;
  readonly data: DataOrder;
  readonly callbacks: readonly TrainerCallback[];
  readonly losses: LossSums;
  readonly state: TrainerState;
  session: number | null = null;
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
  readonly #dataset: Dataset;
  #fingerprint: Promise<string> | null = null;
  readonly #objective: Objective;
  readonly #parameters: readonly Tensor[];
  readonly #tally: LossTally;
  readonly #captured: CapturedStep<string>;
  readonly #begin = performance.now();
  readonly #ownsOptimizer: boolean;
  #startStep = 0;
  #startTokens = 0;
  /** Items of the step in progress; float32 [1] with the same, for captured steps. */
  #items = 0;
  #divisor: Tensor | null = null;

  /** @throws {RangeError} for an empty dataset @throws {TypeError} if no parameter trains */
  constructor({ model, args, dataset, collate, objective, optimizer, scheduler, callbacks }: RunOptions) {
    this.model = model;
    this.#objective = objective ?? MODEL_LOSS;
    const { sumCount } = this.#objective;
    this.losses = {
      ...{ sinceLog: 0, loggedStep: 0, total: 0, skipped: 0, totalSkipped: 0 },
      sums: new Array(sumCount).fill(0),
    };
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
    this.#dataset = dataset;
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
    this.state = newState(maxSteps, Math.ceil(maxSteps / this.stepsPerEpoch));
    for (const random of randomStates(model)) random.seed = args.seed;
    zeroGrad(this.#parameters);
    this.#ownsOptimizer = optimizer === null;
    this.optimizer = optimizer ?? optimizerOf(model, args);
    this.scheduler = scheduler ?? getScheduler(args.lrSchedulerType, this.optimizer, {
      numWarmupSteps: args.getWarmupSteps(maxSteps),
      numTrainingSteps: maxSteps,
      ...args.lrSchedulerKwargs,
    });
    this.device = this.#parameters[0].device;
    this.#tally = new LossTally(this.device, sumCount);
    // No record that is larger than what the pool keeps idle, and on software one at most: a run needs no more memory.
    const options = { verify: true, yields: true, maxReservedBytes: this.device.profile.recordedBytes };
    this.#captured = captureStep(this.device, (inputs) => this.#recordedBody(inputs), options);
  }

  /** What the data are known again by, read once. */
  fingerprint(): Promise<string> {
    return this.#fingerprint ??= import("./data/fingerprint.ts").then(({ fingerprintOf }) =>
      fingerprintOf(this.#dataset)
    );
  }

  /** Counts speed from here on: after the state was restored, before the first step. */
  start(): void {
    this.#startStep = this.state.globalStep;
    this.#startTokens = this.state.numInputTokensSeen;
  }

  /** The batches that have something to learn, of which it counts the items. */
  #usefulBatches(batches: readonly Batch[]): Batch[] {
    const objective = this.#objective;
    const used = batches.filter((batch) => objective.countItems(batch) > 0);
    this.#items = used.reduce((sum, batch) => sum + objective.countItems(batch), 0);
    if (this.#items === 0) {
      throw new RangeError(
        `Cannot train step ${this.state.globalStep + 1}: at least one ${objective.required}`,
      );
    }
    this.learningRate = this.optimizer.paramGroups[0].lr;
    return used;
  }

  /** Forward, backward and update of one optimizer step on `batches`; gradients stay. Nothing waits for the device. */
  step(batches: readonly Batch[]): void {
    const used = this.#usefulBatches(batches);
    const inputs = this.#recordable(used);
    if (inputs) this.#captured(inputs);
    else tidy(() => void this.#work(used));
  }

  /**
   * The batches as inputs of a captured step, or null where one cannot stand for all of their shapes: the model or the
   * optimizer may do other work in each step, or the loss would.
   */
  #recordable(batches: readonly Batch[]): CaptureInputs | null {
    const { model, optimizer } = this;
    if (!model.isCapturable || !optimizer.isCapturable) return null;
    const inputs: Record<string, CaptureInputs[string]> = {};
    for (const [i, batch] of batches.entries()) {
      const own = this.#objective.captureInputs(batch, model);
      if (own === null) return null;
      for (const [name, rows] of Object.entries(own)) inputs[`${i}.${name}`] = rows;
    }
    return inputs;
  }

  /** A step as `captureStep` runs it. */
  #recordedBody(inputs: Readonly<Record<string, Tensor>>): Tensor {
    const batches: Record<string, Tensor>[] = [];
    for (const [key, tensor] of Object.entries(inputs)) {
      const dot = key.indexOf(".");
      (batches[Number(key.slice(0, dot))] ??= {})[key.slice(dot + 1)] = tensor;
    }
    this.#divisor ??= untracked(() => empty(this.device, [1]));
    this.#divisor.write(Float32Array.of(this.#items), () => Float32Array.of(this.#items));
    // tensors only if model and loss take them
    return tidy(() => this.#work(batches as unknown as Batch[], this.#divisor!));
  }

  /** Gives the memory of recorded steps back: before other work, such as an evaluation. */
  forgetRecords(): void {
    this.#captured.dispose();
  }

  /** The same where others compute shares of the gradients. @throws the signal's reason: the step is not done then */
  async exchangedStep(
    batches: readonly Batch[],
    exchange: GradientExchange,
    signal?: AbortSignal,
  ): Promise<void> {
    const { exchangeGradients } = await import("./gradient_exchange.ts");
    const used = this.#usefulBatches(batches);
    const { loss, sums } = await exchangeGradients({
      ...{ exchange, step: this.state.globalStep + 1, model: this.model, parameters: this.#parameters },
      ...{
        forwards: used.map((batch) => this.#objective.countForwards?.(batch) ?? 1),
        total: this.#args.gradientAccumulationSteps,
        sumCount: this.losses.sums.length,
      },
      compute: (places) => tidy(() => this.#accumulate(places.map((place) => used[place]))),
    }, signal);
    const { device } = this;
    tidy(() =>
      this.#update({
        loss: Tensor.from(Float32Array.of(loss), { device, shape: [] }),
        ...sums.length > 0 && { sums: Tensor.from(sums, { device }) },
      })
    );
  }

  #work(batches: readonly Batch[], divisor?: Tensor): Tensor {
    const found = this.#accumulate(batches, divisor);
    this.#update(found);
    return found.loss;
  }

  /** Clips the gradients, updates the weights and notes the loss. */
  #update({ loss, sums }: BatchLoss): void {
    const grads = this.#parameters.flatMap(({ grad }) => grad ? [grad] : []);
    const { clip } = gradNorm(grads, this.#args.maxGradNorm > 0 ? this.#args.maxGradNorm : Infinity);
    this.optimizer.step({ clip });
    this.#tally.prepare(() => this.state.globalStep + 1);
    this.#tally.add(loss, clip, sums);
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

  /** Adds up the gradients of `batches`, and gives their loss and what its measures are made of. */
  #accumulate(batches: readonly Batch[], divisor?: Tensor): BatchLoss {
    const parts = batches.map((batch) =>
      tidy(() => {
        const forward = () => this.#objective.loss(this.model, batch, this.#items, divisor);
        const { loss, sums } = this.#args.fp16 ? withHalfActivations(forward) : forward();
        loss.backward();
        return { loss: loss.detach(), sums };
      })
    );
    const addUp = (parts: readonly Tensor[]) => noGrad(() => parts.reduce((sum, part) => add(sum, part)));
    const sums = parts.flatMap(({ sums }) => sums ? [sums] : []);
    return { loss: addUp(parts.map(({ loss }) => loss)), ...sums.length > 0 && { sums: addUp(sums) } };
  }

  /**
   * Reads the losses back.
   * @returns why training has to stop; null if it goes on
   * @throws {Error} naming the first step that was not finite, if that is an error
   */
  async readLosses(): Promise<string | null> {
    if (this.unread === 0) return null;
    const report = await this.#tally.read(this.state.globalStep, this.unread);
    this.#tally.reset();
    this.unread = 0;
    const { onNonFinite } = this.#args;
    let problem: string | null = null;
    if (report.badSteps > 0 && onNonFinite !== "skip") {
      const { firstBadStep: step } = report;
      const place = await this.#placeOfNonFinite(step);
      const changed = `others at step ${step}, which changed no weight${place && `; ${place}`}`;
      if (onNonFinite === "error") {
        throw new Error(
          `Cannot go on training: a finite loss and finite gradients are required, received ${changed}; lower learningRate, or set onNonFinite to "stop" or "skip"`,
        );
      }
      problem = `a finite loss and finite gradients are required, received ${changed}`;
    }
    // one by one, in order: the sum is the same whenever losses were read
    for (const loss of report.losses) {
      if (Number.isNaN(loss)) this.losses.skipped++;
      else this.losses.sinceLog += loss;
    }
    for (const sums of report.sums) sums.forEach((sum, i) => this.losses.sums[i] += sum);
    this.gradNorm = report.gradNorm;
    return problem;
  }

  /** The first value of a step that is not finite, as far as running it again tells. Gradients are gone then. */
  async #placeOfNonFinite(step: number): Promise<string> {
    this.forgetRecords();
    const { placeOfNonFinite } = await import("./find_non_finite.ts");
    const { model, loader, stepsPerEpoch, state: { globalStep } } = this;
    return await placeOfNonFinite({
      ...{ model, loader, stepsPerEpoch, globalStep, step, objective: this.#objective, args: this.#args },
    });
  }

  /**
   * Closes the logging window; the mean loss of its steps that were finite (NaN for none), how many were not, and what
   * the objective measures beside.
   */
  closeWindow(): { loss: number; skippedSteps: number; measures: Record<string, number> } {
    const { losses, state } = this;
    const measures = this.#objective.measures(losses.sums);
    const { skipped: skippedSteps } = losses;
    const loss = mean(losses.sinceLog, state.globalStep - losses.loggedStep, skippedSteps);
    losses.total += losses.sinceLog;
    losses.totalSkipped += skippedSteps;
    losses.sinceLog = losses.skipped = 0;
    losses.loggedStep = state.globalStep;
    losses.sums.fill(0);
    return { loss, skippedSteps, measures };
  }

  /** `trainLoss` and speeds of the run since `start()`. */
  metrics(): Record<string, number> {
    const { state } = this;
    const steps = state.globalStep - this.#startStep;
    const seconds = this.#seconds();
    return {
      trainLoss: mean(this.losses.total, state.globalStep, this.losses.totalSkipped),
      trainRuntime: seconds,
      trainSamplesPerSecond: this.#samples() * steps / Math.max(1, state.maxSteps) / seconds,
      trainStepsPerSecond: steps / seconds,
      trainTokensPerSecond: (state.numInputTokensSeen - this.#startTokens) / seconds,
      epoch: state.epoch,
    };
  }

  /** Examples of the whole run, as `transformers` counts them: of the steps or of the epochs that were asked for. */
  #samples(): number {
    const { maxSteps, numTrainEpochs } = this.#args;
    const { batchSize, gradientAccumulationSteps, examples } = this.data;
    return maxSteps > 0 ? maxSteps * batchSize * gradientAccumulationSteps : examples * numTrainEpochs;
  }

  /** Gives device memory back, but what the caller owns. */
  dispose(): void {
    zeroGrad(this.#parameters);
    this.#captured.dispose();
    this.#tally.dispose();
    this.#divisor?.dispose();
    if (this.#ownsOptimizer) this.optimizer.dispose();
  }

  #seconds(): number {
    return Math.max(1e-3, (performance.now() - this.#begin) / 1000);
  }
}
