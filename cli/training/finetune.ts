/**
 * `finetune`: trains an adapter, or a whole model, and writes it as Python reads it.
 * @module
 */

import {
  AdaLoraConfig,
  type CausalLM,
  checkWritableFolder,
  getLastCheckpoint,
  getPeftModel,
  PeftModel,
  planMemory,
  type PlanOptions,
  type Tokenizer,
  type Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "@peft/webgpu";
import { resilientTrain, SCHEDULER_TYPES } from "@peft/webgpu/train";
import { learningRateOf } from "../../options/method_defaults.ts";
import { choice, flag, integer, number, positive, text } from "../../options/rules.ts";
import { type Command, UsageError, type Values } from "../command.ts";
import { InterruptedError, interruptible } from "../interrupt.ts";
import { load, loadTokenizer, MODEL_FLAGS } from "../loading.ts";
import { checkMethodFlags, METHOD_FLAGS, methodConfig, readFields } from "./methods.ts";
import { preview } from "./preview.ts";
import { ProgressBar } from "./progress.ts";
import { numbersOf, RunReports, usedSettings } from "./run_reports.ts";
import { checkOutput, modelInputs } from "../output_paths.ts";
import { readTask, TASK_FLAGS, type TaskData, taskRate } from "./tasks.ts";
import { HELD_OUT_FLAGS, LEARNING_FLAGS, readTrainingRows, ROW_FLAGS, type TrainingRows } from "./data.ts";
import { blockSizeOf, planOptions, TRAINING_FLAGS, trainingArgs } from "./flags.ts";

const flags = {
  model: {
    ...MODEL_FLAGS.model,
    required: true,
    help: "Model folder in Hugging Face's layout, a .gguf file, or a hub id",
  },
  "gguf-file": MODEL_FLAGS["gguf-file"],
  dtype: MODEL_FLAGS.dtype,
  quantization: MODEL_FLAGS.quantization,
  "double-quant": MODEL_FLAGS["double-quant"],
  ...ROW_FLAGS,
  ...LEARNING_FLAGS,
  ...HELD_OUT_FLAGS,
  preview: { rule: flag, help: "Print the first example of --data with what is learned of it, and end" },
  "eval-steps": {
    rule: integer(0, 1e9),
    help: "Steps between evaluations of --eval-data; default 0, or with --report ten in all",
  },
  output: { rule: text, required: true, help: "Folder for the adapter, or with --method full the model" },
  ...TASK_FLAGS,
  ...METHOD_FLAGS,
  ...TRAINING_FLAGS,
  "training-options": {
    rule: text,
    help: 'Further settings of the Trainer as JSON, such as {"weight_decay": 0.01, "neftune_noise_alpha": 5}',
  },
  epochs: { rule: positive(1e6), default: 3, help: "Passes over the data" },
  "max-steps": {
    rule: integer(-1, 1e9),
    default: -1,
    help: "Optimizer steps; replaces --epochs if positive",
  },
  lr: { rule: number(0, 10), help: "Learning rate; default: 2e-4 for LoRA, by the method for others" },
  schedule: {
    rule: choice(...SCHEDULER_TYPES),
    default: "linear",
    help: "Learning rate schedule",
  },
  warmup: {
    rule: number(0, 1),
    default: 0.03,
    help: "Part of the steps in which the learning rate rises",
  },
  "save-steps": {
    rule: integer(0, 1e9),
    default: 0,
    help: "Steps between checkpoints; 0 saves one only on Ctrl-C",
  },
  "sample-prompt": {
    rule: text,
    help:
      "What the model answers at each evaluation (or ten times in all), in a chat model's template: printed, or with --report kept",
  },
  report: {
    rule: flag,
    help:
      "Keep run_log.jsonl and TensorBoard's event files (runs/) in --output, and make report.html of them",
  },
  resume: { rule: flag, help: "Go on from the newest checkpoint in --output, if there is one" },
  seed: {
    rule: integer(0, Number.MAX_SAFE_INTEGER),
    default: 42,
    help: "Seed of weights, dropout and data order",
  },
} as const;

type FinetuneValues = Values<typeof flags>;

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

/** Settings that `--training-options` may not change, since the command relies on them, and the flag to use. */
const OWN_SETTINGS: Readonly<Record<string, string>> = {
  outputDir: "--output",
  reportTo: "--report",
};

/** The settings of `--training-options`, by their names in TypeScript. @throws {UsageError} for {@linkcode OWN_SETTINGS} */
function furtherSettings(text: string | undefined): Partial<TrainingArguments> {
  const settings = readFields("--training-options", text);
  for (const name of Object.keys(settings)) {
    if (!(name in OWN_SETTINGS)) continue;
    throw new UsageError(
      `Cannot run finetune: --training-options cannot set ${name}, which is ${OWN_SETTINGS[name]}`,
    );
  }
  return settings;
}

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
function settingsOf(values: FinetuneValues, evalSteps: number): Partial<TrainingArguments> {
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

/** One attempt: a model on a device, and what trains it. After a lost device there is another. */
interface Attempt {
  readonly base: CausalLM;
  readonly model: CausalLM | PeftModel<CausalLM>;
  readonly trainer: Trainer;
  readonly reports: RunReports;
  readonly steps: number;
}

/** Makes attempts; the data is read once. */
class Attempts {
  readonly #values: FinetuneValues;
  readonly #tokenizer: Tokenizer;
  readonly #rows: TrainingRows;
  #data: TaskData | null = null;
  #count = 0;

  constructor(values: FinetuneValues, tokenizer: Tokenizer, rows: TrainingRows) {
    this.#values = values;
    this.#tokenizer = tokenizer;
    this.#rows = rows;
  }

  async make(): Promise<Attempt> {
    const values = this.#values;
    const tokenizer = this.#tokenizer;
    const { train, heldOut } = this.#rows;
    const isFirst = this.#count++ === 0;
    const { base } = await load("finetune", { ...values, adapter: undefined });
    const data = this.#data ??= await readTask(train, heldOut, tokenizer, values, blockSizeOf(values, base));
    const steps = stepsOf(values, data.rows);
    const config = methodConfig(values, steps);
    const adapted = config && getPeftModel(base, config, "default", { seed: values.seed });
    const model = adapted ?? base;
    if (isFirst) {
      printTrainable(model);
      if (values.memory !== undefined) {
        const { total } = planMemory(model, memoryOptions(values, base));
        console.log(`memory: at most ${(total / 1e6).toFixed(1)} MB on the device`);
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
    const reports = new RunReports(facts, values.report, values["sample-prompt"]);
    const trainer = data.trainer({
      model,
      args: settingsOf(values, evalSteps),
      tokenizer,
      callbacks: [
        new ProgressBar(base.device),
        ...config instanceof AdaLoraConfig ? [allocatesRanks(adapted!)] : [],
        ...reports.callbacks,
      ],
    });
    return { base, model, trainer, reports, steps };
  }
}

/** The command. */
export const finetune: Command<typeof flags> = {
  name: "finetune",
  summary: "Train an adapter of any method, or a whole model, on your data",
  flags,
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run finetune --model gpt2 --data my.txt --output out/adapter",
    "./run finetune --model chat.gguf --data conversations.jsonl --output out/adapter --preview",
    "./run finetune --model chat.gguf --data pairs.jsonl --task dpo --output out/dpo --report",
    "./run finetune --config my_run.yaml --method dora --rank 32",
    "./run finetune --model examples/demo/model --data examples/demo/data/pirate.jsonl \\",
    "  --eval-data examples/demo/data/pirate_held_out.jsonl --lr 5e-3 --output out/adapter",
  ],
  async run(values) {
    const isEvaluated = values["eval-data"] !== undefined || !!values["eval-split"];
    if (values["max-steps"] === 0) {
      throw new UsageError("Cannot run finetune: --max-steps must be positive or -1, received 0");
    }
    checkMethodFlags(values);
    if (values["eval-steps"] && !isEvaluated) {
      throw new UsageError(
        "Cannot run finetune: --eval-steps needs --eval-data or --eval-split, without which it has no effect",
      );
    }
    furtherSettings(values["training-options"]); // refused before anything is read
    await checkOutput("finetune", values.output, modelInputs("--model", values.model, values["gguf-file"]));
    await checkWritableFolder(values.output, "run finetune: --output");
    const tokenizer = await loadTokenizer(values.model, values);
    if (values.preview) {
      return await preview(values, tokenizer, Deno.stdout.isTerminal() && !Deno.noColor && !values.json);
    }
    const attempts = new Attempts(values, tokenizer, await readTrainingRows(values));
    const checkpoint = values.resume ? await getLastCheckpoint(values.output) : null;
    if (values.resume) {
      console.log(
        checkpoint
          ? `continuing from ${checkpoint}`
          : `no checkpoint in ${values.output}: training starts from the beginning`,
      );
      const [, step] = /checkpoint-(\d+)\W*$/.exec(checkpoint ?? "") ?? [];
      const wanted = values["max-steps"];
      if (wanted > 0 && Number(step) >= wanted) {
        console.log(
          `the checkpoint is of step ${step}, and --max-steps is ${wanted}: no step is left to train`,
        );
      }
    }
    let attempt = await attempts.make();
    if (isEvaluated) console.log(`evaluating ${values["eval-data"] ?? "the rows held out"} before training`);
    const before = isEvaluated ? await attempt.trainer.evaluate() : null;
    if (before && !checkpoint) await attempt.reports.evaluated(attempt.model, 0, before);
    let isFirst = true;
    const result = await interruptible(
      "stopping after this step, to save a checkpoint; press Ctrl-C again to stop at once",
      (signal) =>
        resilientTrain({
          makeTrainer: async () => {
            if (!isFirst) attempt = await attempts.make();
            isFirst = false;
            return attempt.trainer;
          },
          onRestart: ({ checkpoint }) =>
            console.log(`the device was lost: training goes on from ${checkpoint ?? "the beginning"}`),
          resumeFromCheckpoint: checkpoint ?? false,
          signal,
        }),
    );
    const { trainingLoss, globalStep, aborted } = result;
    if (aborted) {
      console.log(
        result.checkpoint
          ? `stopped after step ${globalStep}; checkpoint written to ${result.checkpoint}; give the same command with --resume to go on`
          : "stopped before the first step; nothing was written",
      );
      throw new InterruptedError({
        interrupted: true,
        checkpoint: result.checkpoint ?? null,
        steps: globalStep,
      });
    }
    if (result.stopReason) console.log(`stopped after step ${globalStep}: ${result.stopReason}`);
    const { model, trainer, reports, base } = attempt;
    const isAdapter = model instanceof PeftModel;
    await model.savePretrained(values.output);
    if (!isAdapter) await tokenizer.savePretrained(values.output);
    console.log(`${globalStep} steps, mean loss ${trainingLoss.toFixed(4)}`);
    const after = before && await trainer.evaluate();
    if (before && after) {
      console.log(`held-out loss ${before.evalLoss.toFixed(4)} -> ${after.evalLoss.toFixed(4)}`);
      if (before.meanTokenAccuracy !== null && after.meanTokenAccuracy !== null) {
        const [from, to] = [before, after].map(({ meanTokenAccuracy }) => meanTokenAccuracy!.toFixed(4));
        console.log(`held-out token accuracy ${from} -> ${to}`);
      }
      for (const [name, value] of Object.entries(after.metrics)) {
        console.log(`${name} ${before.metrics[name].toFixed(4)} -> ${value.toFixed(4)}`);
      }
      const { evalStrategy, evalSteps } = trainer.args;
      if (evalStrategy === "no" || globalStep % evalSteps! !== 0) {
        await reports.evaluated(model, globalStep, after);
      }
    }
    await reports.finish(result, [
      ...usedSettings(trainer, globalStep, blockSizeOf(values, base)),
      ["mean training loss", trainingLoss.toFixed(4)],
      ...before && after
        ? [
          [
            "held-out loss",
            `${before.evalLoss.toFixed(4)} before, ${after.evalLoss.toFixed(4)} after`,
          ] as const,
        ]
        : [],
    ]);
    console.log(`${isAdapter ? "adapter" : "model"} written to ${values.output}`);
    return {
      output: values.output,
      task: values.task,
      method: values.method,
      steps: globalStep,
      stopReason: result.stopReason,
      trainLoss: trainingLoss,
      before: before && numbersOf(before),
      after: after && numbersOf(after),
    };
  },
};
