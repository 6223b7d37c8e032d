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
  type MemoryPlan,
  PeftModel,
  planMemory,
} from "@peft/webgpu";
import type { MemoryBytes } from "@peft/webgpu/train";
import { flag, text } from "../options/rules.ts";
import { type Command, UsageError } from "./command.ts";
import { MODEL_FLAGS } from "../jobs/finetune/model_flags.ts";
import { load } from "./loading.ts";
import { checkWholeFlags, METHOD_FLAGS, methodConfig, type MethodValues } from "../jobs/finetune/methods.ts";
import { planOptions, TRAINING_FLAGS, type TrainingValues } from "../jobs/finetune/training_flags.ts";

/** Values of the flags that a plan reads. */
type PlanValues = TrainingValues & MethodValues & { readonly adapter?: string };

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
  ...METHOD_FLAGS,
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

/** Plans a training: of the adapter that was given, or of one on a bare model. */
function plan(
  loaded: CausalLM | PeftModel<CausalLM>,
  base: CausalLM,
  values: PlanValues,
): MemoryPlan & { readonly largestBatch: number | null } {
  const isAdapted = loaded instanceof PeftModel;
  const config = isAdapted ? null : methodConfig(values, 1000);
  const model = config ? getPeftModel(base, config) : loaded;
  if (isAdapted) loaded.setAdapter("default");
  const { budget, ...options } = planOptions(values, base);
  const what = isAdapted
    ? `adapter ${values.adapter}`
    : values.method === "lora"
    ? `LoRA of rank ${values.rank}`
    : values.method;
  const rows = `${options.batch} x ${options.length} tokens`;
  console.log(`plan        ${what}, batches of ${rows}, ${values.optim}`);
  const made = planMemory(model, { ...options, budget: Infinity });
  printPlan(made);
  if (budget === undefined) return { ...made, largestBatch: null };
  const { batch: _, ...row } = options;
  const most = findLargestBatch(model, { ...row, budget });
  const without = options.gradientCheckpointing ? "with" : "without";
  console.log(
    most === 0
      ? `  not even one row fits ${megabytes(budget)} ${without} gradient checkpointing`
      : `  ${megabytes(budget)} hold batches of up to ${most} ${without} gradient checkpointing`,
  );
  return { ...made, largestBatch: most };
}

/** The command. */
export const info: Command<typeof flags> = {
  name: "info",
  summary: "Show a model, an adapter, and the device",
  flags,
  permissions: ["--allow-read"],
  examples: [
    "./run info",
    "./run info --model examples/demo/model --adapter out/adapter --parameters",
    "./run info --model gpt2 --plan --batch-size 4 --block-size 512 --memory 2000",
  ],
  async run(values) {
    if (values.plan) checkWholeFlags(values);
    const device = await initDevice();
    console.log(`device      ${device.adapterName}${device.isFallback ? " (software)" : ""}`);
    console.log(
      `limits      ${megabytes(device.limits.maxStorageBufferBindingSize)} per binding, ${
        megabytes(device.limits.maxBufferSize)
      } per buffer`,
    );
    console.log(`features    ${[...device.features].join(", ") || "none"}`);
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
    const about = {
      ...{
        adapter: device.adapterName,
        software: device.isFallback,
        maxStorageBufferBindingSize,
        maxBufferSize,
      },
      features: [...device.features],
    };
    if (values.model === undefined && values.adapter === undefined) {
      if (values.plan) throw new UsageError("Cannot run info: --plan needs --model or --adapter");
      return { device: about };
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
    const planned = values.plan ? plan(model, base, values) : null;
    const parameters = values.parameters
      ? [...model.namedParameters()].map(([name, { shape, dtype, requiresGrad: trains }]) => ({
        ...{ name, shape: [...shape], dtype, trains },
      }))
      : null;
    for (const { name, shape, dtype, trains } of parameters ?? []) {
      console.log(`  ${name} [${shape.join(", ")}] ${dtype}${trains ? " trains" : ""}`);
    }
    return {
      device: about,
      model: { name: baseName, ...base.facts, parameters: count },
      adapter: model instanceof PeftModel ? model.peftConfig.default.toJSON() : null,
      ...planned && { plan: planned },
      ...parameters && { parameters },
    };
  },
};
