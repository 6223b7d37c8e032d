/**
 * `finetune`: trains an adapter, or a whole model, and writes it as Python reads it.
 * @module
 */

import { checkWritableFolder, getLastCheckpoint, PeftModel, type Tokenizer } from "@peft/webgpu";
import { resilientTrain, type Restart } from "@peft/webgpu/train";
import type { Command } from "../command.ts";
import { InterruptedError, interruptible } from "../interrupt.ts";
import { loadBase, loadTokenizer } from "../loading.ts";
import { checkOutput, modelInputs } from "../output_paths.ts";
import type { BegunTraining } from "../nodes/begin.ts";
import { counted } from "../../jobs/counted.ts";
import { Attempts, numbersOf } from "../../jobs/finetune/attempts.ts";
import { readTrainingRows } from "../../jobs/finetune/data.ts";
import {
  checkFinetuneFlags,
  FINETUNE_FLAGS,
  type FinetuneValues,
} from "../../jobs/finetune/finetune_flags.ts";
import { blockSizeOf } from "../../jobs/finetune/training_flags.ts";
import { preview } from "./preview.ts";
import { ProgressBar } from "./progress.ts";
import { RunReports, usedSettings } from "./run_reports.ts";

/** Trains. @param nodes of a training on several machines: what others see of this process */
async function train(values: FinetuneValues, tokenizer: Tokenizer, nodes: BegunTraining | null) {
  const isEvaluated = values["eval-data"] !== undefined || !!values["eval-split"];
  let reports: RunReports;
  const attempts = new Attempts(values, tokenizer, await readTrainingRows(values), {
    loadBase: () => loadBase(values),
    callbacks: (run) => {
      reports = new RunReports(run, values.report, values["sample-prompt"]);
      return [
        new ProgressBar(run.base.device, nodes ? () => nodes.progress : undefined),
        ...nodes ? [nodes.callback] : [],
        ...reports.callbacks,
      ];
    },
    ...nodes && { gradientExchange: nodes.gradients },
  });
  const isResumed = values.resume && nodes === null; // nodes go on from what the broker keeps
  const checkpoint = isResumed ? await getLastCheckpoint(values.output) : null;
  if (isResumed) {
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
  let attempt = await (nodes ? nodes.publish(() => attempts.make()) : attempts.make());
  if (isEvaluated) console.log(`evaluating ${values["eval-data"] ?? "the rows held out"} before training`);
  const evaluate = () => attempt.trainer.evaluate();
  const before = isEvaluated ? await (nodes?.stoppable(evaluate) ?? evaluate()) : null;
  if (before && !checkpoint) await reports!.evaluated(attempt.model, 0, before);
  let isFirst = true;
  const run = {
    makeTrainer: async () => {
      if (!isFirst) attempt = await attempts.make();
      isFirst = false;
      return attempt.trainer;
    },
    onRestart: ({ checkpoint }: Restart) =>
      console.log(`the device was lost: training goes on from ${checkpoint ?? "the beginning"}`),
  };
  const result = await interruptible(
    "stopping after this step, to save a checkpoint; press Ctrl-C again to stop at once",
    (signal) =>
      nodes
        ? nodes.train({ ...run, onBehind: () => attempt.model.dispose(), signal })
        : resilientTrain({ ...run, resumeFromCheckpoint: checkpoint ?? false, signal }),
  );
  const { trainingLoss, globalStep, aborted } = result;
  if (aborted) {
    const stopped = result.checkpoint
      ? `stopped after step ${globalStep}; checkpoint written to ${result.checkpoint}`
      : "stopped before the first step; nothing was written";
    const alone = result.checkpoint ? "give the same command with --resume to go on" : null;
    console.log([stopped, nodes?.outlook ?? alone].filter((part) => part !== null).join("; "));
    throw new InterruptedError({
      interrupted: true,
      checkpoint: result.checkpoint ?? null,
      steps: globalStep,
    });
  }
  if (result.stopReason) console.log(`stopped after step ${globalStep}: ${result.stopReason}`);
  const { model, trainer, base } = attempt;
  const isAdapter = model instanceof PeftModel;
  await model.savePretrained(values.output);
  if (!isAdapter) await tokenizer.savePretrained(values.output);
  console.log(`${counted(globalStep, "step")}, mean loss ${trainingLoss.toFixed(4)}`);
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
      await reports!.evaluated(model, globalStep, after);
    }
  }
  await reports!.finish(result, [
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
}

/** The command. */
export const finetune: Command<typeof FINETUNE_FLAGS> = {
  name: "finetune",
  summary: "Train an adapter of any method, or a whole model, on your data",
  flags: FINETUNE_FLAGS,
  permissions: ["--allow-read", "--allow-write"],
  examples: [
    "./run finetune --model gpt2 --data my.txt --output out/adapter",
    "./run finetune --model chat.gguf --data conversations.jsonl --output out/adapter --preview",
    "./run finetune --model chat.gguf --data pairs.jsonl --task dpo --output out/dpo --report",
    "./run finetune --config my_run.yaml --method dora --rank 32",
    "./run finetune --model gpt2 --data my.txt --output out/adapter --nodes 3 --queue nats://10.0.0.1:4222",
    "./run finetune --model examples/demo/model --data examples/demo/data/pirate.jsonl \\",
    "  --eval-data examples/demo/data/pirate_held_out.jsonl --lr 5e-3 --output out/adapter",
  ],
  async run(values) {
    checkFinetuneFlags(values);
    await checkOutput("finetune", values.output, modelInputs("--model", values.model, values["gguf-file"]));
    await checkWritableFolder(values.output, "run finetune: --output");
    const tokenizer = await loadTokenizer(values.model, values);
    if (values.preview) {
      return await preview(values, tokenizer, Deno.stdout.isTerminal() && !Deno.noColor && !values.json);
    }
    if (values.nodes === 1) return await train(values, tokenizer, null);
    const { BegunTraining } = await import("../nodes/begin.ts");
    const nodes = await BegunTraining.begin(values);
    try {
      const result = await train(nodes.values, tokenizer, nodes);
      await nodes.end();
      return result;
    } catch (error) {
      if (!(error instanceof InterruptedError) && nodes.stays) console.error(nodes.outlook); // that one said it
      throw error;
    } finally {
      await nodes.close();
    }
  },
};
