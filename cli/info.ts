/**
 * `info`: what a model or adapter folder holds, and what this machine's device can do.
 * @module
 */

import {
  type CausalLM,
  describeConfig,
  findLargestBatch,
  getPeftModel,
  initDevice,
  LoraConfig,
  type MemoryPlan,
  PeftModel,
  planMemory,
} from "@peft/webgpu";
import type { MemoryBytes } from "@peft/webgpu/train";
import { flag, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { load, MODEL_FLAGS } from "./loading.ts";
import { parseTargets, planOptions, TRAINING_FLAGS, type TrainingValues } from "./training_flags.ts";

/** Values of the flags that a plan reads. */
type PlanValues = TrainingValues & { readonly rank: number; readonly adapter?: string };

const flags = {
  ...MODEL_FLAGS,
  model: {
    rule: text,
    help:
      "Model folder, .gguf file or hub id; default: the base that --adapter names, or without it the device alone",
  },
  parameters: { rule: flag, help: "List every parameter with its shape, and whether it trains" },
  plan: {
    rule: flag,
    help: "Show the device memory that finetune would need, with the flags below, which are finetune's",
  },
  ...TRAINING_FLAGS,
} as const;

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** What the rows of a plan are called. */
const PLAN_ROWS: Readonly<Record<keyof MemoryBytes, string>> = {
  weights: "weights",
  adapter: "adapter",
  optimizer: "optimizer",
  activations: "activations",
  head: "head and loss",
  total: "total",
};

/** Prints a plan, without gradient checkpointing and with it. */
function printPlan({ withoutCheckpointing, withCheckpointing }: MemoryPlan): void {
  const line = (cells: string[]) =>
    console.log(`  ${cells[0].padEnd(16)}${cells[1].padStart(14)}${cells[2].padStart(30)}`);
  line(["", "without", "with gradient checkpointing"]);
  for (const [key, name] of Object.entries(PLAN_ROWS) as [keyof MemoryBytes, string][]) {
    line([name, megabytes(withoutCheckpointing[key]), megabytes(withCheckpointing[key])]);
  }
}

/** Plans a training: of the adapter that was given, or of LoRA on a bare model. */
function plan(loaded: CausalLM | PeftModel<CausalLM>, base: CausalLM, values: PlanValues): void {
  const isAdapted = loaded instanceof PeftModel;
  const config = new LoraConfig({ r: values.rank, targetModules: parseTargets(values.targets) });
  const model = isAdapted ? loaded : getPeftModel(base, config);
  if (isAdapted) model.setAdapter("default");
  const { budget, ...options } = planOptions(values, base);
  const what = isAdapted ? `adapter ${values.adapter}` : `LoRA of rank ${values.rank}`;
  const rows = `${options.batch} x ${options.length} tokens`;
  console.log(`plan        ${what}, batches of ${rows}, ${values.optim}`);
  printPlan(planMemory(model, { ...options, budget: Infinity }));
  if (budget === undefined) return;
  const { batch: _, ...row } = options;
  const most = findLargestBatch(model, { ...row, budget });
  const without = options.gradientCheckpointing ? "with" : "without";
  console.log(
    most === 0
      ? `  not even one row fits ${megabytes(budget)} ${without} gradient checkpointing`
      : `  ${megabytes(budget)} hold batches of up to ${most} ${without} gradient checkpointing`,
  );
}

/** The command. */
export const info: Command<typeof flags> = {
  name: "info",
  summary: "Show a model, an adapter, and the device",
  flags,
  examples: [
    "./run info",
    "./run info --model examples/demo/model --adapter out/adapter --parameters",
    "./run info --model gpt2 --plan --batch-size 4 --block-size 512 --memory 2000",
  ],
  async run(values) {
    const device = await initDevice();
    console.log(`device      ${device.adapterName}${device.isFallback ? " (software)" : ""}`);
    console.log(
      `limits      ${megabytes(device.limits.maxStorageBufferBindingSize)} per binding, ${
        megabytes(device.limits.maxBufferSize)
      } per buffer`,
    );
    console.log(`features    ${[...device.features].join(", ") || "none"}`);
    if (values.model === undefined && values.adapter === undefined) {
      if (values.plan) throw new UsageError("Cannot run info: --plan needs --model or --adapter");
      return;
    }
    const { base, model, baseName } = await load("info", values);
    const { displayName, numLayers, numHeads, numKeyValueHeads, hiddenSize, vocabSize, maxPositions } =
      base.facts;
    const shared = numKeyValueHeads < numHeads ? ` (${numKeyValueHeads} of keys and values)` : "";
    console.log(
      `model       ${baseName}: ${displayName}, ${numLayers} layers, ${numHeads} heads${shared}, ${hiddenSize} wide`,
    );
    console.log(`tokens      vocabulary ${vocabSize}, at most ${maxPositions} per sequence`);
    let count = 0;
    for (const parameter of base.parameters()) count += parameter.size;
    console.log(
      `parameters  ${count.toLocaleString("en-US")}, ${megabytes(device.memory.liveBytes)} on the device`,
    );
    if (model instanceof PeftModel) {
      console.log(`adapter     ${values.adapter}`);
      for (const [label, value] of describeConfig(model.peftConfig.default)) {
        console.log(`  ${label.padEnd(16)} ${value}`);
      }
      model.setAdapter("default");
      model.printTrainableParameters();
    }
    if (values.plan) plan(model, base, values);
    if (values.parameters) {
      for (const [name, parameter] of model.namedParameters()) {
        console.log(
          `  ${name} [${parameter.shape.join(", ")}] ${parameter.dtype}${
            parameter.requiresGrad ? " trains" : ""
          }`,
        );
      }
    }
  },
};
