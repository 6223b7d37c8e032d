/**
 * From flags to a run: the model on a device, the data, and what trains it.
 * @module
 */

import {
  AdaLoraConfig,
  type CausalLM,
  getPeftModel,
  PeftModel,
  planMemory,
  type PlanOptions,
  type Tokenizer,
  type Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "@peft/webgpu";
import type { FolderStore } from "@peft/webgpu/io";
import type { Dataset, EvalOutput, GradientExchange } from "@peft/webgpu/train";
import { learningRateOf } from "../../options/method_defaults.ts";
import type { TrainingRows } from "./data.ts";
import { type FinetuneValues, furtherSettings } from "./finetune_flags.ts";
import { blockSizeNote, blockSizeOf, planOptions, trainingArgs } from "./training_flags.ts";
import { type AdapterConfig, checkWholeWeights, methodConfig } from "./methods.ts";
import { readTask, type TaskData, taskRate } from "./tasks.ts";

/** The numbers of an evaluation, its measures among them. */
export function numbersOf({ metrics, ...numbers }: EvalOutput): Record<string, number | null> {
  return { ...numbers, ...metrics };
}

/** Prints how many parameters train. */
function printTrainable(model: CausalLM | PeftModel<CausalLM>): void {
  if (model instanceof PeftModel) return model.printTrainableParameters();
  const count = [...model.parameters()].reduce((sum, { size }) => sum + size, 0);
  console.log(`trainable params: ${count.toLocaleString("en-US")} (all)`);
}

/** AdaLoRA's part of a step. */
const allocatesRanks = (model: PeftModel<CausalLM>): TrainerCallback => ({
  onOptimizerStep: (_args, { globalStep }) => model.updateAndAllocate(globalStep + 1),
});

/** Optimizer steps of a training on so many rows. */
function stepsOf(values: FinetuneValues, rows: number): number {
  const {
    maxSteps = -1,
    numTrainEpochs = 1,
    perDeviceTrainBatchSize = 1,
    gradientAccumulationSteps = 1,
  } = settingsOf(values, 0);
  if (maxSteps > 0) return maxSteps;
  return Math.ceil(numTrainEpochs * Math.ceil(rows / (perDeviceTrainBatchSize * gradientAccumulationSteps)));
}

/** Settings of the Trainer. */
export function settingsOf(values: FinetuneValues, evalSteps: number): Partial<TrainingArguments> {
  const saves = values["save-steps"] > 0;
  return {
    outputDir: values.output,
    saveStrategy: saves ? "steps" : "no",
    ...saves ? { saveSteps: values["save-steps"], saveTotalLimit: 2 } : {},
    numTrainEpochs: values.epochs,
    maxSteps: values["max-steps"],
    perDeviceTrainBatchSize: values["batch-size"],
    perDeviceEvalBatchSize: values["batch-size"],
    ...trainingArgs(values),
    learningRate: values.lr ?? learningRateOf(values.method) * taskRate(values.task),
    lrSchedulerType: values.schedule,
    warmupRatio: values.warmup,
    loggingSteps: 5,
    loggingFirstStep: true,
    ...evalSteps > 0 ? { evalStrategy: "steps", evalSteps } : {},
    reportTo: "none",
    seed: values.seed,
    ...furtherSettings(values["training-options"]),
  };
}

/** What memory depends on: the flags, and --training-options before them. */
function memoryOptions(values: FinetuneValues, base: CausalLM): PlanOptions {
  const { perDeviceTrainBatchSize: batch, gradientCheckpointing, fp16, optim, gradientAccumulationSteps } =
    settingsOf(values, 0);
  const args = { gradientCheckpointing, fp16, optim, gradientAccumulationSteps };
  return { ...planOptions(values, base), batch, gradientCheckpointing, args };
}

/** What is known of a run before it begins. */
export interface RunFacts {
  readonly base: CausalLM;
  readonly baseName: string;
  readonly tokenizer: Tokenizer;
  readonly task: string;
  readonly method: string;
  readonly config: AdapterConfig | null;
  /** Names of the data's files. */
  readonly data: string;
  readonly heldOut: string | null;
  /** Whether there are evaluations on the way. */
  readonly isEvaluated: boolean;
  /** Rows that are trained on. */
  readonly rows: number;
  /** Examples, where the model learns tokens. */
  readonly examples: Dataset | null;
  readonly heldOutExamples: Dataset | null;
  readonly output: string;
  readonly steps: number;
}

/** One attempt: a model on a device, and what trains it. After a lost device there is another. */
export interface Attempt {
  readonly base: CausalLM;
  readonly model: CausalLM | PeftModel<CausalLM>;
  readonly trainer: Trainer;
  readonly steps: number;
}

/** How attempts are made. */
export interface AttemptOptions {
  /** Loads the base on to a device. */
  readonly loadBase: () => Promise<CausalLM>;
  /** What follows an attempt. */
  readonly callbacks: (run: RunFacts) => readonly TrainerCallback[];
  /** Where the Trainer keeps checkpoints, in place of the folder `--output`. */
  readonly outputDir?: FolderStore;
  /** Whether nothing is printed of the model. */
  readonly isQuiet?: boolean;
  /** How other machines take part. */
  readonly gradientExchange?: GradientExchange;
}

/** Makes attempts; the data is read once. */
export class Attempts {
  readonly #values: FinetuneValues;
  readonly #tokenizer: Tokenizer;
  readonly #rows: TrainingRows;
  readonly #options: AttemptOptions;
  #data: TaskData | null = null;
  #count = 0;

  constructor(values: FinetuneValues, tokenizer: Tokenizer, rows: TrainingRows, options: AttemptOptions) {
    this.#values = values;
    this.#tokenizer = tokenizer;
    this.#rows = rows;
    this.#options = options;
  }

  async make(): Promise<Attempt> {
    const values = this.#values;
    const tokenizer = this.#tokenizer;
    const { train, heldOut } = this.#rows;
    const { callbacks, gradientExchange, outputDir } = this.#options;
    const isFirst = this.#count++ === 0;
    const base = await this.#options.loadBase();
    checkWholeWeights(values, base);
    const note = blockSizeNote(values, base);
    if (note !== null && isFirst && !this.#options.isQuiet) console.log(note);
    const data = this.#data ??= await readTask(train, heldOut, tokenizer, values, blockSizeOf(values, base));
    const steps = stepsOf(values, data.rows);
    const config = methodConfig(values, steps);
    const adapted = config && getPeftModel(base, config, "default", { seed: values.seed });
    const model = adapted ?? base;
    if (isFirst) {
      const { isQuiet } = this.#options;
      if (!isQuiet) printTrainable(model);
      if (values.memory !== undefined) {
        const { total } = planMemory(model, memoryOptions(values, base)); // throws where it is more
        if (!isQuiet) console.log(`memory: at most ${(total / 1e6).toFixed(1)} MB on the device`);
      }
    }
    const evalSteps = heldOut
      ? values["eval-steps"] ?? (values.report ? Math.max(1, Math.ceil(steps / 10)) : 0)
      : 0;
    const facts = {
      ...{ base, baseName: values.model, tokenizer, task: values.task, method: values.method, config, steps },
      ...{
        data: values.data,
        heldOut: heldOut && (values["eval-data"] ?? `${values["eval-split"]} of the rows`),
      },
      ...{
        rows: train.length,
        isEvaluated: evalSteps > 0,
        examples: data.examples,
        heldOutExamples: data.heldOut,
        output: values.output,
      },
    };
    const trainer = data.trainer({
      model,
      args: { ...settingsOf(values, evalSteps), ...outputDir && { outputDir } },
      tokenizer,
      callbacks: [
        ...callbacks(facts),
        ...config instanceof AdaLoraConfig ? [allocatesRanks(adapted!)] : [],
      ],
      ...gradientExchange && { gradientExchange },
    });
    return { base, model, trainer, steps };
  }
}
