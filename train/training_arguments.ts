/**
 * Settings of a training run, by Hugging Face's names in camelCase.
 * @module
 */

import { checkOptions } from "../options/names.ts";
import { checkSchedulerType, type SchedulerType } from "./lr_scheduler.ts";

/** When something happens during training. */
export type IntervalStrategy = "no" | "steps" | "epoch";

/** Optimizers that the Trainer makes itself. */
export type OptimizerName = "adamw_torch" | "sgd";

/** The name of a measure in logs: `accuracy` is logged as `evalAccuracy`. */
export function evalName(metric: string): string {
  return /^eval[A-Z_]/.test(metric) ? metric : `eval${metric[0]?.toUpperCase() ?? ""}${metric.slice(1)}`;
}

/** Settings of `Trainer`; defaults are those of `transformers.TrainingArguments` but where it says otherwise. */
export class TrainingArguments {
  /** Folder for checkpoints and the trained model; none is written without it. */
  outputDir: string | null = null;
  /** Passes over the data; may be a fraction. */
  numTrainEpochs = 3;
  /** Optimizer steps; if positive, it replaces `numTrainEpochs`. */
  maxSteps: number = -1;
  /** Rows per training batch. */
  perDeviceTrainBatchSize = 8;
  /** Rows per evaluation batch. */
  perDeviceEvalBatchSize = 8;
  /** Batches whose gradients are added up before a step. */
  gradientAccumulationSteps = 1;
  /** Initial learning rate. */
  learningRate = 5e-5;
  /** Weight decay of all parameters but biases and those of norms. */
  weightDecay = 0;
  /** AdamW's beta1. */
  adamBeta1 = 0.9;
  /** AdamW's beta2. */
  adamBeta2 = 0.999;
  /** AdamW's epsilon. */
  adamEpsilon = 1e-8;
  /** Gradients are clipped to this norm; 0 for no clipping. */
  maxGradNorm = 1;
  /** Learning rate schedule. */
  lrSchedulerType: SchedulerType = "linear";
  /** Steps in which the learning rate rises from 0. */
  warmupSteps = 0;
  /** The same as a part of all steps, if `warmupSteps` is 0. */
  warmupRatio = 0;
  /** When losses are logged. */
  loggingStrategy: IntervalStrategy = "steps";
  /** Steps between logs. */
  loggingSteps = 500;
  /** Log the first step too. */
  loggingFirstStep = false;
  /** When `evalDataset` is evaluated. */
  evalStrategy: IntervalStrategy = "no";
  /** Steps between evaluations; null: `loggingSteps`. */
  evalSteps: number | null = null;
  /** When checkpoints are saved; needs `outputDir`, and is "no" without it. */
  saveStrategy: IntervalStrategy = "steps";
  /** Steps between checkpoints. */
  saveSteps = 500;
  /** Checkpoints kept, the newest; null for all. */
  saveTotalLimit: number | null = null;
  /**
   * Load the checkpoint with the best `metricForBestModel` when training ends; evaluations and checkpoints must then be
   * due at the same steps.
   */
  loadBestModelAtEnd = false;
  /** The measure of the best checkpoint, such as "evalLoss"; null: "evalLoss" with `loadBestModelAtEnd`. */
  metricForBestModel: string | null = null;
  /** Whether more is better; null: false for a name that ends in "loss", else true. */
  greaterIsBetter: boolean | null = null;
  /** Where the Trainer reports by itself: lines with `console.log`, or nowhere. */
  reportTo: "console" | "none" = "console";
  /** Seed of dropout and of the order of the data. */
  seed = 42;
  /** Leave out the last batch of an epoch if it is not full. */
  dataloaderDropLast = false;
  /** The optimizer. */
  optim: OptimizerName = "adamw_torch";
  /**
   * What happens when a loss or gradient is infinite or NaN: training stops with an error that names the step, or goes
   * on. Either way that step changes no weight. (Not one of Hugging Face's.)
   */
  onNonFinite: "error" | "skip" = "error";

  /**
   * Defaults with `options` in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: Partial<TrainingArguments> = {}) {
    const fail = (name: string, required: string, received: unknown): never => {
      const shown = typeof received === "string" && !received.startsWith('"')
        ? `"${received}"`
        : String(received);
      throw new RangeError(`Cannot make training arguments: ${name} must be ${required}, received ${shown}`);
    };
    checkOptions("make training arguments", options, Object.keys(this));
    for (const [name, value] of Object.entries(options)) {
      if (value !== undefined) Object.assign(this, { [name]: value });
    }
    if (this.outputDir === null) {
      if (options.saveStrategy !== undefined && options.saveStrategy !== "no") {
        fail("outputDir", `a folder when saveStrategy is "${this.saveStrategy}"`, null);
      }
      this.saveStrategy = "no";
    }
    const integer = (name: keyof TrainingArguments, low: number) => {
      const value = this[name];
      if (value === null) return;
      if (!Number.isInteger(value) || value as number < low) {
        fail(name, `an integer of at least ${low}`, value);
      }
    };
    const number = (name: keyof TrainingArguments, low: number, high = Infinity) => {
      const value = this[name] as number;
      const range = high === Infinity ? `at least ${low}` : `from ${low} to ${high}`;
      if (!(value >= low && value <= high)) fail(name, `a number ${range}`, value);
    };
    const oneOf = (name: keyof TrainingArguments, values: readonly string[]) => {
      const list = values.map((value) => `"${value}"`).join(" or ");
      if (!values.includes(this[name] as string)) fail(name, list, this[name]);
    };
    integer("perDeviceTrainBatchSize", 1);
    integer("perDeviceEvalBatchSize", 1);
    integer("gradientAccumulationSteps", 1);
    integer("maxSteps", -1);
    integer("warmupSteps", 0);
    integer("loggingSteps", 1);
    integer("evalSteps", 1);
    integer("saveSteps", 1);
    integer("saveTotalLimit", 1);
    integer("seed", 0);
    number("numTrainEpochs", 0);
    number("learningRate", 0);
    number("weightDecay", 0);
    number("adamBeta1", 0, 1);
    number("adamBeta2", 0, 1);
    number("adamEpsilon", 0);
    number("maxGradNorm", 0);
    number("warmupRatio", 0, 1);
    for (const name of ["loggingStrategy", "evalStrategy", "saveStrategy"] as const) {
      oneOf(name, ["no", "steps", "epoch"]);
    }
    oneOf("reportTo", ["console", "none"]);
    if (this.loadBestModelAtEnd) {
      this.metricForBestModel ??= "evalLoss";
      if (this.saveStrategy !== this.evalStrategy || this.evalStrategy === "no") {
        const { evalStrategy, saveStrategy } = this;
        fail(
          "loadBestModelAtEnd",
          "used with the same evalStrategy and saveStrategy",
          `"${evalStrategy}" and "${saveStrategy}"`,
        );
      }
      const evalSteps = this.evalSteps ?? this.loggingSteps;
      if (this.saveStrategy === "steps" && this.saveSteps % evalSteps !== 0) {
        fail("saveSteps", `a multiple of evalSteps (${evalSteps}) with loadBestModelAtEnd`, this.saveSteps);
      }
    }
    if (this.metricForBestModel !== null) {
      this.metricForBestModel = evalName(this.metricForBestModel);
      this.greaterIsBetter ??= !/loss$/i.test(this.metricForBestModel);
    }
    oneOf("optim", ["adamw_torch", "sgd"]);
    oneOf("onNonFinite", ["error", "skip"]);
    checkSchedulerType(this.lrSchedulerType);
  }

  /** Steps of warmup in a run of `maxSteps`. */
  getWarmupSteps(maxSteps: number): number {
    return this.warmupSteps > 0 ? this.warmupSteps : Math.ceil(maxSteps * this.warmupRatio);
  }

  /** The settings by Hugging Face's own names. */
  toJSON(): Record<string, unknown> {
    const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return Object.fromEntries(Object.entries(this).map(([name, value]) => [snake(name), value]));
  }
}
