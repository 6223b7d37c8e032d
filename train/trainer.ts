/**
 * The training loop, with the names and behaviour of `transformers.Trainer`.
 * @module
 */

import { loadHalfFormats } from "../autograd/mod.ts";
import { TALLY_STEPS } from "../autograd/ops/loss_tally.ts";
import { checkOptions } from "../options/names.ts";
import type { FolderLock } from "../io/folder_lock.ts";
import type { FolderStore } from "../io/folder_store.ts";
import type { FolderOutput } from "../io/folder_target.ts";
import type { CommitInfo, PushToHubOptions } from "../io/hub_push.ts";
import { type CallbackInput, type Moment, toCallback } from "./callbacks.ts";
import type { CheckpointPlace } from "./checkpoint_place.ts";
import type { Dataset } from "./data/example.ts";
import { type Batch, type DataCollator, defaultDataCollator } from "./data/data_loader.ts";
import { LossWatchdog } from "./loss_watchdog.ts";
import { MODEL_LOSS, type Objective } from "./objective.ts";
import { oneTokenizer } from "./processing_class.ts";
import { loadOptimizerOf } from "./optimizers/optimizer_of.ts";
import { loadSchedule } from "./optimizers/schedule_table.ts";
import { makeReports } from "./reports/make_reports.ts";
import type { EvalOutput } from "./evaluate.ts";
import { checkModel, type TrainableModel } from "./trainable_model.ts";
import {
  type CallbackExtra,
  newState,
  type TrainerCallback,
  type TrainerControl,
  type TrainerState,
} from "./trainer_state.ts";
import type { TrainOptions, TrainOutput } from "./train_output.ts";
import {
  checkExchange,
  TRAINER_OPTIONS,
  type TrainerOptions,
  type TrainerTokenizer,
} from "./trainer_options.ts";
import { TrainingArguments } from "./training_arguments.ts";
import { takeStep } from "./take_step.ts";
import { TrainingRun } from "./training_run.ts";

export { TRAINER_OPTIONS };
export type { TrainerOptions, TrainerTokenizer, TrainOptions, TrainOutput };

/** Where checkpoints lie; its code is loaded for runs that have some. */
async function placeOf(outputDir: string | FolderStore): Promise<CheckpointPlace> {
  const { checkpointPlace } = await import("./checkpoint_place.ts");
  return checkpointPlace(outputDir);
}

/**
 * Trains a model.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, TextDataset, Trainer } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const stories = "examples/demo/data/pirate.jsonl"; // or a .txt file
 * const trainDataset = await TextDataset.fromFile(stories, tokenizer, { blockSize: 64 });
 * const trainer = new Trainer({ model, trainDataset, args: { outputDir: "out", maxSteps: 4, loggingSteps: 2 } });
 * const { trainingLoss } = await trainer.train();
 * await trainer.saveModel();
 * ```
 */
export class Trainer {
  /** The model. */
  readonly model: TrainableModel;
  /** The settings. */
  readonly args: TrainingArguments;
  readonly #options: TrainerOptions;
  readonly #collate: DataCollator;
  readonly #objective: Objective;
  readonly #callbacks: TrainerCallback[];
  readonly #control: TrainerControl = {
    shouldTrainingStop: false,
    shouldLog: false,
    shouldEvaluate: false,
    shouldSave: false,
    stopReason: null,
  };
  #wasNotFinite = false;
  #isTraining = false;
  #state = newState();

  /**
   * Does nothing to the model yet.
   * @throws {RangeError} for settings out of range
   * @throws {TypeError} for an option that does not exist, for what is no model or callback, and for evaluations without
   * an evalDataset
   */
  constructor(given: TrainerOptions) {
    checkOptions("make a trainer", given, TRAINER_OPTIONS);
    checkModel("make a trainer", given?.model);
    const options = oneTokenizer("make a trainer", given);
    const { args = {}, tokenizer } = options;
    this.model = options.model;
    this.args = args instanceof TrainingArguments ? args : new TrainingArguments(args);
    this.#options = options;
    this.#collate = options.dataCollator ??
      defaultDataCollator(tokenizer?.padTokenId ?? tokenizer?.eosTokenId ?? 0);
    this.#objective = options.objective ?? MODEL_LOSS;
    this.#callbacks = (options.callbacks ?? []).map((callback) => toCallback("make a trainer", callback));
    if (this.args.gradientCheckpointing && !this.model.gradientCheckpointingEnable) {
      throw new TypeError(
        "Cannot make a trainer: a model with gradientCheckpointingEnable() is required with gradientCheckpointing, received none",
      );
    }
    if (this.args.neftuneNoiseAlpha !== null && this.model.neftuneNoiseAlpha === undefined) {
      throw new TypeError(
        "Cannot make a trainer: a model with neftuneNoiseAlpha is required with neftuneNoiseAlpha, received none",
      );
    }
    const { lossWatchdogThreshold: threshold, lossWatchdogPatience } = this.args;
    if (threshold !== null) this.#callbacks.push(new LossWatchdog(threshold, lossWatchdogPatience));
    this.#callbacks.push(
      ...makeReports(this.args.reportTo, { tokenizer, example: () => options.trainDataset?.at(0) }),
    );
    checkExchange(options.gradientExchange, this.args);
    if (this.args.evalStrategy !== "no" && !options.evalDataset) {
      throw new TypeError(
        `Cannot make a trainer: an evalDataset is required with evalStrategy "${this.args.evalStrategy}", received none`,
      );
    }
  }

  /** Where the run is, or the last run ended. */
  get state(): Readonly<TrainerState> {
    return this.#state;
  }

  /** Adds a callback. */
  addCallback(callback: CallbackInput): void {
    this.#callbacks.push(toCallback("add a callback", callback));
  }

  /**
   * Trains, from the beginning or from a checkpoint.
   * @throws {RangeError} for an empty dataset @throws {TypeError} if no parameter trains, or the checkpoint is of
   * another model or data @throws {Error} for an outputDir that cannot be written to or that another run uses, before the
   * first step; for a checkpoint that cannot be written (those before it stay); for a loss or gradient that is not finite, naming the step
   */
  async train(options: TrainOptions = {}): Promise<TrainOutput> {
    checkOptions("train", options, ["resumeFromCheckpoint", "signal"]);
    if (this.#isTraining) {
      throw new TypeError("Cannot train: the run before must have ended, received a trainer that trains");
    }
    this.#isTraining = true;
    try {
      return await this.#run(options);
    } finally {
      this.#isTraining = false;
    }
  }

  /**
   * Makes the data ready, once all else is known to be right: what a trainer of another kind asks before the first step.
   * @param signal of `train()`, for work that takes long
   */
  protected async prepareData(dataset: Dataset, _signal?: AbortSignal): Promise<void> {
    await dataset.prepare?.();
  }

  /** What a trainer of another kind adds to each log of training. */
  protected ownLogs(): Record<string, number> {
    return {};
  }

  async #run(options: TrainOptions): Promise<TrainOutput> {
    const { resumeFromCheckpoint = false, signal } = options;
    const { trainDataset: dataset, optimizers: [optimizer, scheduler] = [null, null] } = this.#options;
    if (!dataset) throw new TypeError("Cannot train: a trainDataset is required, received none");
    const { model, args } = this;
    const place = args.outputDir === null ? null : await placeOf(args.outputDir);
    await place?.check("train");
    await this.prepareData(dataset, signal);
    const control = this.#control;
    Object.assign(control, {
      ...{ shouldTrainingStop: false, shouldLog: false, shouldEvaluate: false, shouldSave: false },
      stopReason: null,
    });
    if (!optimizer) await loadOptimizerOf(args);
    if (!scheduler) await loadSchedule(args.lrSchedulerType);
    if (args.fp16) await Promise.all([loadHalfFormats(), import("../autograd/half_activations.ts")]);
    const run = new TrainingRun({
      ...{ model, args, dataset, collate: this.#collate, objective: this.#objective },
      ...{ optimizer, scheduler },
      callbacks: this.#callbacks,
    });
    this.#state = run.state;
    this.#wasNotFinite = false;
    const { neftuneNoiseAlpha } = model;
    let lock: FolderLock | null = null;
    try {
      lock = await place?.lock("train") ?? null;
      if (resumeFromCheckpoint !== false) {
        const { loadCheckpoint } = await import("./checkpoint.ts");
        const { findCheckpoint } = await import("./checkpoint_place.ts");
        const from = place ?? await placeOf(String(resumeFromCheckpoint));
        const newest = resumeFromCheckpoint === true;
        await loadCheckpoint(
          from,
          newest ? await findCheckpoint(await this.#place("resume")) : resumeFromCheckpoint,
          run,
        );
      }
      run.start();
      model.train(true);
      if (args.gradientCheckpointing) model.gradientCheckpointingEnable!();
      if (args.neftuneNoiseAlpha !== null) model.neftuneNoiseAlpha = args.neftuneNoiseAlpha;
      await this.#emit("onTrainBegin");
      if (args.evalOnStart && run.state.globalStep === 0) await this.#evaluateNow(run);
      while (run.state.globalStep < run.state.maxSteps && !control.shouldTrainingStop && !signal?.aborted) {
        await this.#runEpoch(run, signal);
      }
      await this.#readLosses(run);
      const aborted = signal?.aborted === true && run.state.globalStep < run.state.maxSteps;
      let checkpoint: string | null = null;
      if ((aborted || this.#wasNotFinite) && args.outputDir !== null && run.state.globalStep > 0) {
        checkpoint = await this.#save(run);
      }
      if (args.loadBestModelAtEnd && !aborted && run.state.bestModelCheckpoint !== null) {
        const { loadParameters } = await import("./checkpoint.ts");
        const best = run.state.bestModelCheckpoint;
        await loadParameters(await this.#place("load the best model"), best, model);
      }
      run.closeWindow();
      const metrics = run.metrics();
      const { stopReason } = control;
      await this.#emit("onTrainEnd", { logs: metrics, stopReason });
      const { globalStep } = run.state;
      return { globalStep, trainingLoss: metrics.trainLoss, aborted, checkpoint, stopReason, metrics };
    } finally {
      if (args.neftuneNoiseAlpha !== null) model.neftuneNoiseAlpha = neftuneNoiseAlpha;
      run.dispose();
      await lock?.release();
    }
  }

  /**
   * The mean loss over a dataset in eval mode, each label counting once, and its perplexity. (Hugging Face's Trainer
   * averages the means of batches: the same where no row is padded.)
   * @throws {RangeError} if there is no label at all @throws {TypeError} without a dataset
   */
  async evaluate(dataset: Dataset | undefined = this.#options.evalDataset): Promise<EvalOutput> {
    const { evaluateDataset } = await import("./evaluate_dataset.ts");
    const { computeMetrics, preprocessLogitsForMetrics } = this.#options;
    return await evaluateDataset(this.model, dataset, {
      ...{ batchSize: this.args.perDeviceEvalBatchSize, collate: this.#collate, objective: this.#objective },
      ...{ computeMetrics, preprocessLogitsForMetrics },
    });
  }

  /**
   * Writes the model's and the tokenizer's files and the settings; default to `outputDir`. With `pushToHub` it also
   * pushes them.
   */
  async saveModel(folder: FolderOutput = this.#outputDir("save the model")): Promise<void> {
    await this.#writeModel(folder);
    if (this.args.pushToHub) await this.pushToHub({ commitMessage: "Model save" });
  }

  /**
   * Pushes what `saveModel` writes to `hubModelId`, with the model card that `outputDir` has.
   * @param options default: what the settings say, and "End of training" for the commit
   * @throws {HubError} without a token or for one that may not write there, and where the hub refuses
   */
  async pushToHub(options: PushToHubOptions = {}): Promise<CommitInfo> {
    const { pushTraining } = await import("./push_training.ts");
    return await pushTraining(this.args, options, (folder) => this.#writeModel(folder));
  }

  async #writeModel(folder: FolderOutput): Promise<void> {
    const { writeTraining } = await import("./write_training.ts");
    await writeTraining(this.model, this.#options.tokenizer, this.args, folder);
  }

  #outputDir(action: string): string | FolderStore {
    if (this.args.outputDir !== null) return this.args.outputDir;
    throw new TypeError(`Cannot ${action}: outputDir is required, received none`);
  }

  #place(action: string): Promise<CheckpointPlace> {
    return placeOf(this.#outputDir(action));
  }

  async #runEpoch(run: TrainingRun, signal: AbortSignal | undefined): Promise<void> {
    const { state, loader } = run;
    const { gradientAccumulationSteps } = this.args;
    const epoch = Math.floor(state.globalStep / run.stepsPerEpoch);
    let seen = (state.globalStep % run.stepsPerEpoch) * gradientAccumulationSteps;
    let window: Batch[] = [];
    for await (const batch of loader.readBatches(epoch, seen)) {
      window.push(batch);
      seen++;
      if (window.length < gradientAccumulationSteps && seen < loader.length) continue;
      if (!await takeStep(run, window, this.#options.gradientExchange, signal)) return;
      await this.#emit("onOptimizerStep");
      run.finishStep(window);
      window = [];
      state.epoch = epoch + seen / loader.length;
      await this.#afterStep(run, seen === loader.length);
      const stops = this.#control.shouldTrainingStop || signal?.aborted;
      if (stops || state.globalStep >= state.maxSteps) return;
    }
  }

  async #afterStep(run: TrainingRun, epochEnds: boolean): Promise<void> {
    const { state } = run;
    const { args } = this;
    const control = this.#control;
    const due = (strategy: string, steps: number) =>
      strategy === "steps"
        ? state.globalStep % steps === 0
        : strategy === "epoch" && (epochEnds || state.globalStep >= state.maxSteps);
    control.shouldLog ||= due(args.loggingStrategy, args.loggingSteps) ||
      args.loggingFirstStep && state.globalStep === 1;
    const isDelayed = (args.evalStrategy === "epoch" ? state.epoch : state.globalStep) < args.evalDelay;
    control.shouldEvaluate ||= !isDelayed && due(args.evalStrategy, args.evalSteps ?? args.loggingSteps);
    control.shouldSave ||= due(args.saveStrategy, args.saveSteps);
    await this.#emit("onStepEnd");
    if (epochEnds) await this.#emit("onEpochEnd");
    const { shouldLog, shouldEvaluate, shouldSave } = control;
    control.shouldLog = control.shouldEvaluate = control.shouldSave = false;
    const isFull = run.unread >= TALLY_STEPS; // the host never runs further ahead of the device
    if (shouldLog || shouldEvaluate || shouldSave || isFull) await this.#readLosses(run);
    if (shouldLog && state.globalStep > run.losses.loggedStep) {
      const { loss, skippedSteps, measures } = run.closeWindow();
      const { gradNorm, learningRate } = run;
      const skipped = skippedSteps > 0 && { skippedSteps };
      const logs = { loss, gradNorm, learningRate, ...skipped, ...measures, ...this.ownLogs() };
      await this.#log(logs, "onLog");
    }
    if (shouldEvaluate) {
      const { noteBest } = await import("./best_model.ts");
      noteBest(args, state, await this.#evaluateNow(run));
    }
    if (shouldSave) await this.#save(run);
  }

  /** Reads the losses back, and ends training where they say so. */
  async #readLosses(run: TrainingRun): Promise<void> {
    const problem = await run.readLosses();
    if (problem === null) return;
    this.#wasNotFinite = true;
    Object.assign(this.#control, { shouldTrainingStop: true, stopReason: problem });
  }

  async #evaluateNow(run: TrainingRun): Promise<Record<string, number>> {
    run.forgetRecords();
    const { evalLoss, perplexity, meanTokenAccuracy, evalRuntime, metrics } = await this.evaluate();
    const logs = {
      evalLoss,
      ...this.#objective.isTokenLoss && { perplexity },
      ...meanTokenAccuracy !== null && { evalMeanTokenAccuracy: meanTokenAccuracy },
      ...metrics,
      evalRuntime,
    };
    await this.#log(logs, "onEvaluate");
    return logs;
  }

  async #save(run: TrainingRun): Promise<string> {
    const { saveCheckpoint } = await import("./checkpoint.ts");
    const checkpoint = await saveCheckpoint(await this.#place("save a checkpoint"), this.args, run);
    await this.#emit("onSave", { checkpoint });
    const { args: { pushToHub, hubStrategy }, state: { globalStep } } = this;
    if (pushToHub && hubStrategy === "every_save") {
      await this.pushToHub({ commitMessage: `Training in progress, step ${globalStep}` }).catch((error) =>
        console.warn(`step ${globalStep} was saved and not pushed: ${(error as Error).message}`)
      );
    }
    return checkpoint;
  }

  async #log(logs: Record<string, number>, moment: "onLog" | "onEvaluate"): Promise<void> {
    const { epoch, globalStep: step, logHistory } = this.#state;
    logHistory.push({ ...logs, epoch, step });
    await this.#emit(moment, { logs });
  }

  async #emit(moment: Moment, extra: Omit<CallbackExtra, "model"> = {}): Promise<void> {
    const { samples } = this.#state;
    const before = samples.length;
    for (const callback of this.#callbacks) {
      await callback[moment]?.(this.args, this.#state, this.#control, { model: this.model, ...extra });
    }
    if (samples.length > before) await this.#emit("onSample", { samples: samples.slice(before) });
  }
}
