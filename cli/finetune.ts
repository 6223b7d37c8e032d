/**
 * `finetune`: trains an adapter, or a whole model, and writes it as Python reads it.
 * @module
 */

import {
  AdaLoraConfig,
  type CausalLM,
  checkWritableFolder,
  describeConfig,
  getLastCheckpoint,
  getPeftModel,
  PeftModel,
  planMemory,
  type SchedulerType,
  type Tokenizer,
  Trainer,
  type TrainerCallback,
} from "@peft/webgpu";
import {
  type EvalOutput,
  RunLog,
  SampleCallback,
  TensorBoardLog,
  TokenLossSamples,
  writeTrainingCard,
} from "@peft/webgpu/train";
import { choice, flag, integer, number, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { endTokens, load, loadTokenizer, MODEL_FLAGS } from "./loading.ts";
import { writeReport } from "./report.ts";
import { previewExample } from "./preview.ts";
import { ProgressBar } from "./progress.ts";
import { InterruptedError, interruptible } from "./interrupt.ts";
import { learningRateOf, METHOD_FLAGS, methodConfig } from "./methods.ts";
import {
  HELD_OUT_FLAGS,
  LEARNING_FLAGS,
  readRows,
  readTrainingRows,
  ROW_FLAGS,
  sftExamples,
} from "./training_data.ts";
import { blockSizeOf, planOptions, TRAINING_FLAGS, trainingArgs } from "./training_flags.ts";

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
  output: { rule: text, required: true, help: "Folder for the adapter" },
  ...METHOD_FLAGS,
  ...TRAINING_FLAGS,
  epochs: { rule: number(0, 1e6), default: 3, help: "Passes over the data" },
  "max-steps": {
    rule: integer(-1, 1e9),
    default: -1,
    help: "Optimizer steps; replaces --epochs if positive",
  },
  lr: { rule: number(0, 10), help: "Learning rate; default: 2e-4 for LoRA, by the method for others" },
  schedule: {
    rule: choice("linear", "cosine", "constant", "constant_with_warmup"),
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
      "What the model answers at each evaluation (or ten times in all), for --report; in a chat model's template",
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

/** Prints how many parameters train. */
function printTrainable(model: CausalLM | PeftModel<CausalLM>): void {
  if (model instanceof PeftModel) return model.printTrainableParameters();
  const count = [...model.parameters()].reduce((sum, { size }) => sum + size, 0);
  console.log(`trainable params: ${count.toLocaleString("en-US")} (all)`);
}

/** A path's last part. */
const nameOf = (path: string) => path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1)!;

/** The numbers of an evaluation, its measures among them. */
function numbersOf({ metrics, ...numbers }: EvalOutput): Record<string, number | null> {
  return { ...numbers, ...metrics };
}

/** A tokenizer whose texts are questions to a chat model, where its model is one. */
const asPrompt = (tokenizer: Tokenizer) => ({
  encode: (text: string) =>
    tokenizer.chatTemplate
      ? tokenizer.applyChatTemplate([{ role: "user", content: text }], { addGenerationPrompt: true })
      : tokenizer.encode(text),
  decode: (ids: readonly number[]) => tokenizer.decode([...ids], { skipSpecialTokens: true }),
});

/** AdaLoRA's part of a step. */
const allocatesRanks = (model: PeftModel<CausalLM>): TrainerCallback => ({
  onOptimizerStep: (_args, { globalStep }) => model.updateAndAllocate(globalStep + 1),
});

/** The command. */
export const finetune: Command<typeof flags> = {
  name: "finetune",
  summary: "Train an adapter of any method, or a whole model, on your data",
  flags,
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run finetune --model gpt2 --data my.txt --output out/adapter",
    "./run finetune --model chat.gguf --data conversations.jsonl --output out/adapter --preview",
    "./run finetune --config my_run.yaml --method dora --rank 32",
    "./run finetune --model examples/demo/model --data examples/demo/data/pirate.jsonl \\",
    "  --eval-data examples/demo/data/pirate_held_out.jsonl --targets all-linear --lr 5e-3 --output out/adapter",
  ],
  async run(values) {
    if (values["max-steps"] === 0) {
      throw new UsageError("Cannot run finetune: --max-steps must be positive or -1, received 0");
    }
    await checkWritableFolder(values.output, "run finetune: --output");
    const tokenizer = await loadTokenizer(values.model, values);
    if (values.preview) {
      const rows = await readRows(values.data, values, values.seed);
      const examples = await sftExamples(rows, tokenizer, values, values["block-size"]);
      const colours = Deno.stdout.isTerminal() && !Deno.noColor && !values.json;
      console.log(previewExample(tokenizer, (await examples.at(0))!, colours));
      console.log(`${examples.length} examples in ${values.data}`);
      return;
    }
    const { base } = await load("finetune", { ...values, adapter: undefined });
    const blockSize = blockSizeOf(values, base);
    const { train, heldOut } = await readTrainingRows(values);
    const trainDataset = await sftExamples(train, tokenizer, values, blockSize);
    const evalDataset = heldOut ? await sftExamples(heldOut, tokenizer, values, blockSize) : undefined;
    const rows = values["batch-size"] * values.accumulation;
    const steps = values["max-steps"] > 0
      ? values["max-steps"]
      : Math.ceil(values.epochs * Math.ceil(trainDataset.length / rows));
    const config = methodConfig(values, steps);
    const adapted = config && getPeftModel(base, config, "default", { seed: values.seed });
    const model = adapted ?? base;
    printTrainable(model);
    if (values.memory !== undefined) {
      const { total } = planMemory(model, planOptions(values, base));
      console.log(`memory: at most ${(total / 1e6).toFixed(1)} MB on the device`);
    }
    const checkpoints = values["save-steps"] > 0;
    const checkpoint = values.resume ? await getLastCheckpoint(values.output) : null;
    if (values.resume) {
      console.log(
        checkpoint
          ? `continuing from ${checkpoint}`
          : `no checkpoint in ${values.output}: training starts from the beginning`,
      );
    }
    const progress = new ProgressBar(base.device);
    const everySteps = values["eval-steps"] ?? (values.report ? Math.max(1, Math.ceil(steps / 10)) : 0);
    const method = config ? Object.fromEntries(describeConfig(config)) : {};
    const log = new RunLog({
      about: {
        model: values.model,
        data: values.data,
        evalData: values["eval-data"] ?? null,
        method: values.method,
        ...method,
      },
      example: () => trainDataset.at(0),
      tokenizer,
    });
    const tokens = values.report && evalDataset ? new TokenLossSamples(log, evalDataset, tokenizer) : null;
    const prompt = values["sample-prompt"];
    const samples = prompt === undefined ? null : new SampleCallback({
      prompts: [prompt],
      tokenizer: asPrompt(tokenizer),
      everySteps: evalDataset ? null : Math.max(1, Math.ceil(steps / 10)),
      atStart: true,
      generation: { maxNewTokens: 48, doSample: false, eosTokenId: endTokens(base, tokenizer) },
    });
    const trainer = new Trainer({
      model,
      args: {
        outputDir: values.output,
        saveStrategy: checkpoints ? "steps" : "no",
        ...(checkpoints ? { saveSteps: values["save-steps"], saveTotalLimit: 2 } : {}),
        numTrainEpochs: values.epochs,
        maxSteps: values["max-steps"],
        perDeviceTrainBatchSize: values["batch-size"],
        perDeviceEvalBatchSize: values["batch-size"],
        ...trainingArgs(values),
        learningRate: values.lr ?? learningRateOf(values.method),
        lrSchedulerType: values.schedule as SchedulerType,
        warmupRatio: values.warmup,
        loggingSteps: 5,
        loggingFirstStep: true,
        ...evalDataset && everySteps > 0 ? { evalStrategy: "steps", evalSteps: everySteps } : {},
        reportTo: "none",
        seed: values.seed,
      },
      trainDataset,
      evalDataset,
      tokenizer,
      callbacks: [
        progress,
        ...config instanceof AdaLoraConfig ? [allocatesRanks(adapted!)] : [],
        ...values.report ? [log, new TensorBoardLog()] : [],
        ...tokens ? [tokens] : [],
        ...samples ? [samples] : [],
      ],
    });
    if (evalDataset) console.log(`evaluating ${values["eval-data"] ?? "the rows held out"} before training`);
    const before = evalDataset ? await trainer.evaluate() : null;
    if (before && !checkpoint) {
      await log.note("evaluate", 0, numbersOf(before));
      await tokens?.note(model, 0);
    }
    const result = await interruptible(
      "stopping after this step, to save a checkpoint; press Ctrl-C again to stop at once",
      (signal) => trainer.train({ resumeFromCheckpoint: checkpoint ?? false, signal }),
    );
    const { trainingLoss, globalStep, aborted } = result;
    if (aborted) {
      console.log(
        result.checkpoint
          ? `stopped after step ${globalStep}; checkpoint written to ${result.checkpoint}; give the same command with --resume to go on`
          : "stopped before the first step; nothing was written",
      );
      throw new InterruptedError();
    }
    await model.savePretrained(values.output);
    if (!adapted) await tokenizer.savePretrained(values.output);
    console.log(`${globalStep} steps, mean loss ${trainingLoss.toFixed(4)}`);
    const after = before && await trainer.evaluate();
    if (before) {
      console.log(`held-out loss ${before.evalLoss.toFixed(4)} -> ${after!.evalLoss.toFixed(4)}`);
    }
    if (after && values.report && globalStep % everySteps !== 0) {
      await log.note("evaluate", globalStep, numbersOf(after));
      await tokens!.note(model, globalStep);
    }
    await writeTrainingCard(values.output, {
      data: `${values.data.split(",").map(nameOf).join(", ")} (${train.length} rows)`,
      summary: `${values.model} trained with @peft/webgpu.`,
      rows: [
        ["base model", values.model],
        [
          "method",
          [values.method, ...Object.entries(method).map(([name, value]) => `${name} ${value}`)].join(", "),
        ],
        ["steps", `${globalStep} of ${rows} rows of up to ${blockSize} tokens`],
        ["learning rate", `${trainer.args.learningRate}, ${values.schedule}, warmup ${values.warmup}`],
        ["optimizer", values.optim],
        ["seed", values.seed],
        ["training loss", trainingLoss.toFixed(4)],
        ...before
          ? [
            [
              "held-out loss",
              `${before.evalLoss.toFixed(4)} before, ${after!.evalLoss.toFixed(4)} after`,
            ] as const,
          ]
          : [],
        ["seconds", result.metrics.trainRuntime.toFixed(0)],
        ["device", base.device.adapterName],
      ],
    });
    console.log(`${adapted ? "adapter" : "model"} written to ${values.output}`);
    if (values.report) console.log(`report written to ${await writeReport(values.output)}`);
    return {
      output: values.output,
      method: values.method,
      steps: globalStep,
      trainLoss: trainingLoss,
      evalLossBefore: before?.evalLoss ?? null,
      evalLoss: after?.evalLoss ?? null,
    };
  },
};
