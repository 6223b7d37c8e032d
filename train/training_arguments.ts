/**
 * Settings of a training run, by Hugging Face's names in camelCase.
 * @module
 */

import { type FolderStore, isFolderStore } from "../io/folder_store.ts";
import { checkOptions } from "../options/names.ts";
import { choice, flag, integer, number, orNull, type Rule, rule, text } from "../options/rules.ts";
import { completeOptions, namesOf, option, type OptionTable, toDisk } from "../options/table.ts";
import { type OptimArgs, OPTIMIZER_NAMES, type OptimizerName, parseOptimArgs } from "./optimizers/table.ts";
import { REPORT_NAMES, type ReportName } from "./reports/report_names.ts";
import { SCHEDULER_TYPES, type SchedulerSettings, type SchedulerType } from "./optimizers/schedules.ts";

/**
 * When something happens during training.
 *
 * @example
 * ```ts
 * import { TrainingArguments } from "@peft/webgpu";
 * import type { IntervalStrategy } from "@peft/webgpu/train";
 *
 * const make = (evalStrategy: IntervalStrategy, saveStrategy: IntervalStrategy) =>
 *   new TrainingArguments({ outputDir: "out", loadBestModelAtEnd: true, evalStrategy, saveStrategy });
 * make("epoch", "epoch");
 * try {
 *   make("epoch", "steps");
 * } catch (error) {
 *   console.log((error as Error).message); // the best one is found among checkpoints that were evaluated
 * }
 * ```
 */
export type IntervalStrategy = "no" | "steps" | "epoch";

/**
 * How the order of an epoch is made.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, defaultDataCollator, Trainer } from "@peft/webgpu";
 * import type { Example, SamplingStrategy } from "@peft/webgpu/train";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = Array.from({ length: 16 }, (_, i) => ({ inputIds: new Array<number>(2 + i).fill(7) }));
 * for (const trainSamplingStrategy of ["random", "group_by_length"] satisfies SamplingStrategy[]) {
 *   let padding = 0;
 *   const dataCollator = (rows: readonly Example[]) => {
 *     const lengths = rows.map(({ inputIds }) => inputIds.length);
 *     padding += Math.abs(lengths[0] - lengths[1]);
 *     return defaultDataCollator()(rows);
 *   };
 *   const args = { trainSamplingStrategy, perDeviceTrainBatchSize: 2, numTrainEpochs: 1, reportTo: "none" } as const;
 *   await new Trainer({ model, trainDataset, dataCollator, args }).train();
 *   console.log(trainSamplingStrategy, padding); // fewer tokens of padding where rows of about one length go together
 * }
 * ```
 */
export type SamplingStrategy = "random" | "sequential" | "group_by_length";

/**
 * When a training pushes to the hub.
 *
 * @example
 * ```ts
 * import { TrainingArguments } from "@peft/webgpu";
 * import type { HubStrategy } from "@peft/webgpu/train";
 *
 * // a machine that may be taken away pushes each checkpoint; one of your own, the result alone
 * const strategyOn = (isRented: boolean): HubStrategy => isRented ? "every_save" : "end";
 * const args = { outputDir: "out", saveSteps: 100, pushToHub: true, hubModelId: "me/pirate", hubStrategy: strategyOn(true) };
 * console.log(new TrainingArguments(args).hubStrategy); // every_save
 * ```
 */
export type HubStrategy = "end" | "every_save";

/**
 * What happens when a loss or gradient is not finite.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, Trainer } from "@peft/webgpu";
 * import type { NonFiniteRule } from "@peft/webgpu/train";
 *
 * const onNonFinite: NonFiniteRule = "stop"; // "error" would throw the same reason, "skip" would go on with the next step
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const args = { onNonFinite, learningRate: 1e30, maxSteps: 3, reportTo: "none" } as const; // far too large
 * const { stopReason } = await new Trainer({ model, trainDataset: [{ inputIds: [5, 6, 7] }], args }).train();
 * console.log(stopReason); // which step, and the first value that was not finite
 * ```
 */
export type NonFiniteRule = "error" | "stop" | "skip";

/** The name of a measure in logs: `accuracy` is logged as `evalAccuracy`. */
export function evalName(metric: string): string {
  return /^eval[A-Z_]/.test(metric) ? metric : `eval${metric[0]?.toUpperCase() ?? ""}${metric.slice(1)}`;
}

const interval: Rule<IntervalStrategy> = choice("no", "steps", "epoch");

const reportNames: Rule<ReportName | "none" | readonly ReportName[]> = rule(
  `"none", or one or several of ${REPORT_NAMES.map((name) => `"${name}"`).join(", ")}`,
  (value) =>
    value === "none" || [value].flat().every((name) => (REPORT_NAMES as readonly unknown[]).includes(name)),
);

const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);

const outputDir: Rule<string | FolderStore> = rule(
  "the path of a folder or a FolderStore",
  (value) => typeof value === "string" || isFolderStore(value),
);

/** @internal A table of settings; that of a class with more settings has more. */
export type SettingsTable = OptionTable<Omit<TrainingArguments, "getWarmupSteps" | "toJSON" | "settings">>;

/** @internal Every setting: its default, and the rule for its value. */
export const SETTINGS: SettingsTable = {
  outputDir: option<string | FolderStore | null>(null, orNull(outputDir)),
  numTrainEpochs: option(3, number(0)),
  maxSteps: option(-1, integer(-1)),
  perDeviceTrainBatchSize: option(8, integer(1)),
  perDeviceEvalBatchSize: option(8, integer(1)),
  gradientAccumulationSteps: option(1, integer(1)),
  gradientCheckpointing: option(false, flag),
  fp16: option(false, flag),
  learningRate: option(5e-5, number(0)),
  weightDecay: option(0, number(0)),
  adamBeta1: option(0.9, number(0, 1)),
  adamBeta2: option(0.999, number(0, 1)),
  adamEpsilon: option(1e-8, number(0)),
  maxGradNorm: option(1, number(0)),
  lrSchedulerType: option<SchedulerType>("linear", choice(...SCHEDULER_TYPES)),
  lrSchedulerKwargs: option<SchedulerSettings | null>(null, orNull(rule("an object", isObject))),
  warmupSteps: option(0, integer(0)),
  warmupRatio: option(0, number(0, 1)),
  loggingStrategy: option<IntervalStrategy>("steps", interval),
  loggingSteps: option(500, integer(1)),
  loggingFirstStep: option(false, flag),
  evalStrategy: option<IntervalStrategy>("no", interval),
  evalSteps: option<number | null>(null, orNull(integer(1))),
  evalDelay: option(0, number(0)),
  evalOnStart: option(false, flag),
  saveStrategy: option<IntervalStrategy>("steps", interval),
  saveSteps: option(500, integer(1)),
  saveTotalLimit: option<number | null>(null, orNull(integer(1))),
  loadBestModelAtEnd: option(false, flag),
  metricForBestModel: option<string | null>(null, orNull(text)),
  greaterIsBetter: option<boolean | null>(null, orNull(flag)),
  reportTo: option<ReportName | "none" | readonly ReportName[]>("console", reportNames),
  seed: option(42, integer(0)),
  dataloaderDropLast: option(false, flag),
  trainSamplingStrategy: option<SamplingStrategy>(
    "random",
    choice("random", "sequential", "group_by_length"),
  ),
  optim: option<OptimizerName>("adamw_torch", choice(...OPTIMIZER_NAMES)),
  optimArgs: option<OptimArgs | null>(
    null,
    orNull(rule("text or an object", (value) => typeof value === "string" || isObject(value))),
  ),
  loraplusLrRatio: option<number | null>(null, orNull(number(1))),
  loraplusLrEmbedding: option(1e-6, number(0)),
  neftuneNoiseAlpha: option<number | null>(null, orNull(number(0))),
  lossWatchdogThreshold: option<number | null>(null, orNull(number())),
  lossWatchdogPatience: option(3, integer(1)),
  onNonFinite: option<NonFiniteRule>("error", choice("error", "stop", "skip")),
  pushToHub: option(false, flag),
  hubModelId: option<string | null>(null, orNull(text)),
  hubStrategy: option<HubStrategy>("every_save", choice("end", "every_save")),
  hubToken: option<string | null>(null, orNull(text)),
  hubPrivateRepo: option<boolean | null>(null, orNull(flag)),
  hubRevision: option<string | null>(null, orNull(text)),
};

function refuse(message: string): never {
  throw new RangeError(`Cannot make training arguments: ${message}`);
}

/**
 * Settings of `Trainer`; defaults are those of `transformers.TrainingArguments` but where it says otherwise.
 *
 * @example
 * ```ts
 * import { TrainingArguments } from "@peft/webgpu";
 *
 * const args = new TrainingArguments({ maxSteps: 100, learningRate: 3e-4, warmupRatio: 0.1, loggingSteps: 10 });
 * console.log(args.getWarmupSteps(100)); // 10
 * ```
 */
export class TrainingArguments {
  /**
   * Folder for checkpoints and the trained model: a path, or a store such as `handleStore()` makes of a browser's private
   * file system. None is written without it. Default null.
   */
  outputDir!: string | FolderStore | null;
  /** Passes over the data; may be a fraction. Default 3. */
  numTrainEpochs!: number;
  /** Optimizer steps; if positive, it replaces `numTrainEpochs`. Default -1. */
  maxSteps!: number;
  /** Rows per training batch. Default 8. */
  perDeviceTrainBatchSize!: number;
  /** Rows per evaluation batch. Default 8. */
  perDeviceEvalBatchSize!: number;
  /** Batches whose gradients are added up before a step. Default 1. */
  gradientAccumulationSteps!: number;
  /**
   * Keep the input of each block alone, and compute the block again for its gradient: less memory, the same gradients,
   * about a third more time. The model's `gradientCheckpointingEnable()`. Default false.
   */
  gradientCheckpointing!: boolean;
  /**
   * Keep what backward needs of a forward pass as float16: about half the memory of activations. Arithmetic, weights that
   * train and gradients stay float32, so that no loss scaling is needed. Default false.
   */
  fp16!: boolean;
  /** Initial learning rate. Default 5e-5. */
  learningRate!: number;
  /** Weight decay of all parameters but biases and those of norms. Default 0. */
  weightDecay!: number;
  /** AdamW's beta1. Default 0.9. */
  adamBeta1!: number;
  /** AdamW's beta2. Default 0.999. */
  adamBeta2!: number;
  /** AdamW's epsilon. Default 1e-8. */
  adamEpsilon!: number;
  /** Gradients are clipped to this norm; 0 for no clipping. Default 1. */
  maxGradNorm!: number;
  /** Learning rate schedule. Default "linear". */
  lrSchedulerType!: SchedulerType;
  /** What the schedule takes beside, such as `{ numDecaySteps: 100 }`. Default null, its own defaults. */
  lrSchedulerKwargs!: SchedulerSettings | null;
  /** Steps in which the learning rate rises from 0. Default 0. */
  warmupSteps!: number;
  /** The same as a part of all steps, if `warmupSteps` is 0. Default 0. */
  warmupRatio!: number;
  /** When losses are logged. Default "steps". */
  loggingStrategy!: IntervalStrategy;
  /** Steps between logs. Default 500. */
  loggingSteps!: number;
  /** Log the first step too. Default false. */
  loggingFirstStep!: boolean;
  /** When `evalDataset` is evaluated. Default "no". */
  evalStrategy!: IntervalStrategy;
  /** Steps between evaluations; null: `loggingSteps`. Default null. */
  evalSteps!: number | null;
  /** Steps, or epochs with evalStrategy "epoch", before which nothing is evaluated. Default 0. */
  evalDelay!: number;
  /** Evaluate before the first step too, to see that it can be done. Default false. */
  evalOnStart!: boolean;
  /** When checkpoints are saved; needs `outputDir`, and is "no" without it. Default "steps". */
  saveStrategy!: IntervalStrategy;
  /** Steps between checkpoints. Default 500. */
  saveSteps!: number;
  /** Checkpoints kept, the newest; null for all. Default null. */
  saveTotalLimit!: number | null;
  /**
   * Load the checkpoint with the best `metricForBestModel` when training ends; evaluations and checkpoints must then be
   * due at the same steps. Default false.
   */
  loadBestModelAtEnd!: boolean;
  /** The measure of the best checkpoint, such as "evalLoss"; null: "evalLoss" with `loadBestModelAtEnd`. Default null. */
  metricForBestModel!: string | null;
  /** Whether more is better; null: false for a name that ends in "loss", else true. Default null. */
  greaterIsBetter!: boolean | null;
  /**
   * Where the Trainer reports by itself, one or several: lines with `console.log`; "jsonl", a line for every event in
   * run_log.jsonl, of which `./run report` makes a page; "tensorboard", event files in runs/; both in `outputDir`.
   * Default "console".
   */
  reportTo!: ReportName | "none" | readonly ReportName[];
  /** Seed of dropout and of the order of the data. Default 42. */
  seed!: number;
  /** Leave out the last batch of an epoch if it is not full. Default false. */
  dataloaderDropLast!: boolean;
  /**
   * The order of an epoch: a new one each time, the one of the data, or a new one in which examples of about the same
   * length share a batch, so that there is less padding. Default "random".
   */
  trainSamplingStrategy!: SamplingStrategy;
  /**
   * The optimizer: AdamW ("adamw_torch", "adamw_torch_fused"), AdamW with its moments in a byte each ("adamw_8bit",
   * "adamw_bnb_8bit"), Lion ("lion", "lion_32bit"), "adafactor" or "sgd". Default "adamw_torch".
   */
  optim!: OptimizerName;
  /**
   * Options of the optimizer alone, as an object or as text: `{ momentum: 0.9 }` or "momentum=0.9, nesterov=true".
   * Default null.
   */
  optimArgs!: OptimArgs | null;
  /** LoRA+: the learning rate of B over that of A, such as 16. Default null: the same for both. */
  loraplusLrRatio!: number | null;
  /** The learning rate of LoRA on embeddings with `loraplusLrRatio`. Default 1e-6. */
  loraplusLrEmbedding!: number;
  /**
   * NEFTune: uniform noise of ±alpha / sqrt(tokens per row * hidden size) on the token embeddings while training, such
   * as 5. Default null, none.
   */
  neftuneNoiseAlpha!: number | null;
  /** A logged loss that is too high: training stops after `lossWatchdogPatience` of them in a row. Default null, none. */
  lossWatchdogThreshold!: number | null;
  /** Logs in a row whose loss may not be above `lossWatchdogThreshold`. Default 3. */
  lossWatchdogPatience!: number;
  /**
   * What happens when a loss or gradient is infinite or NaN. "error": an error that names the step and the first value
   * that is not finite. "stop": the same in `stopReason` of the result, after a checkpoint. "skip": training goes on.
   * Either way that step changes no weight. (Not one of Hugging Face's.) Default "error".
   */
  onNonFinite!: NonFiniteRule;
  /**
   * Push the model, and the tokenizer with it, to the hub: as `hubStrategy` says, and with each `saveModel()`. A push
   * that fails is warned of, and training goes on. Default false.
   */
  pushToHub!: boolean;
  /** The repository, "org/name" or "name"; null: the last part of `outputDir`. Default null. */
  hubModelId!: string | null;
  /**
   * "every_save" also pushes after each checkpoint, "end" only with `saveModel()` and `trainer.pushToHub()`. (The
   * optimizer's state is never pushed.) Default "every_save".
   */
  hubStrategy!: HubStrategy;
  /** Access token; null: HF_TOKEN, or the one of `login`. It is written to no file. Default null. */
  hubToken!: string | null;
  /** Whether a repository that is made is private; null: as its owner's settings say. Default null. */
  hubPrivateRepo!: boolean | null;
  /** Branch of the pushes; null: "main". Default null. */
  hubRevision!: string | null;

  /**
   * Defaults, with the given options in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: Partial<TrainingArguments> = {}) {
    const { settings } = this;
    checkOptions("make training arguments", options, namesOf(settings));
    Object.assign(this, completeOptions(settings, options, { refuse }));
    parseOptimArgs(this.optimArgs);
    if (this.outputDir === null) {
      if (options.saveStrategy !== undefined && options.saveStrategy !== "no") {
        refuse(`outputDir must be a folder when saveStrategy is "${this.saveStrategy}", received null`);
      }
      this.saveStrategy = "no";
    }
    if (this.pushToHub && this.hubModelId === null && typeof this.outputDir !== "string") {
      refuse("hubModelId must be the name of a repository when pushToHub is true, received null");
    }
    const file = [this.reportTo].flat().find((name) => name !== "console" && name !== "none");
    if (file && typeof this.outputDir !== "string") {
      const received = this.outputDir === null ? "null" : "a store";
      refuse(`outputDir must be a folder when reportTo has "${file}", received ${received}`);
    }
    if (this.loadBestModelAtEnd) {
      this.metricForBestModel ??= "evalLoss";
      this.#checkBestModel();
    }
    if (this.metricForBestModel !== null) {
      this.metricForBestModel = evalName(this.metricForBestModel);
      this.greaterIsBetter ??= !/loss$/i.test(this.metricForBestModel);
    }
  }

  /** @internal Every setting of this class: a class with more settings, or other defaults, says its own. */
  get settings(): SettingsTable {
    return SETTINGS;
  }

  /** Fails where a checkpoint could be without a measure. */
  #checkBestModel(): void {
    const { evalStrategy, saveStrategy, saveSteps, evalSteps, loggingSteps } = this;
    if (saveStrategy !== evalStrategy || evalStrategy === "no") {
      refuse(
        `loadBestModelAtEnd must be used with the same evalStrategy and saveStrategy, received "${evalStrategy}" and "${saveStrategy}"`,
      );
    }
    const every = evalSteps ?? loggingSteps;
    if (saveStrategy === "steps" && saveSteps % every !== 0) {
      refuse(
        `saveSteps must be a multiple of evalSteps (${every}) with loadBestModelAtEnd, received ${saveSteps}`,
      );
    }
  }

  /** Steps of warmup in a run of `maxSteps`. */
  getWarmupSteps(maxSteps: number): number {
    return this.warmupSteps > 0 ? this.warmupSteps : Math.ceil(maxSteps * this.warmupRatio);
  }

  /** The settings by Hugging Face's own names. */
  toJSON(): Record<string, unknown> {
    const { outputDir } = this;
    return {
      ...toDisk(this.settings, this),
      output_dir: isFolderStore(outputDir) ? outputDir.name : outputDir,
      hub_token: this.hubToken === null ? null : "<HUB_TOKEN>", // as transformers hides it
    };
  }
}
