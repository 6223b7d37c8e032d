/**
 * The flags of `finetune`, and what excludes what.
 * @module
 */

import type { TrainingArguments } from "@peft/webgpu";
import { SCHEDULER_TYPES } from "@peft/webgpu/train";
import { choice, flag, integer, number, positive, text } from "../../options/rules.ts";
import { checkNodeFlags, NODE_FLAGS } from "./node_flags.ts";
import type { Values } from "../flags.ts";
import { UsageError } from "../usage_error.ts";
import { MODEL_FLAGS } from "./model_flags.ts";
import { HELD_OUT_FLAGS, LEARNING_FLAGS, ROW_FLAGS } from "./data.ts";
import { TRAINING_FLAGS } from "./training_flags.ts";
import { checkMethodFlags, checkWholeFlags, METHOD_FLAGS, readFields } from "./methods.ts";
import { TASK_FLAGS } from "./tasks.ts";

/** The flags of `finetune`. */
export const FINETUNE_FLAGS = {
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
  ...NODE_FLAGS,
  seed: {
    rule: integer(0, Number.MAX_SAFE_INTEGER),
    default: 42,
    help: "Seed of weights, dropout and data order",
  },
} as const;

/** Their values. */
export type FinetuneValues = Values<typeof FINETUNE_FLAGS>;

/** Settings that `--training-options` may not change, since the command relies on them, and the flag to use. */
const OWN_SETTINGS: Readonly<Record<string, string>> = {
  outputDir: "--output",
  reportTo: "--report",
};

/** The settings of `--training-options`, by their names in TypeScript. @throws {UsageError} for {@linkcode OWN_SETTINGS} */
export function furtherSettings(text: string | undefined): Partial<TrainingArguments> {
  const settings = readFields("--training-options", text);
  for (const name of Object.keys(settings)) {
    if (!(name in OWN_SETTINGS)) continue;
    throw new UsageError(
      `Cannot run finetune: --training-options cannot set ${name}, which is ${OWN_SETTINGS[name]}`,
    );
  }
  return settings;
}

/** Refuses flags that exclude each other, before anything is read. @throws {UsageError} */
export function checkFinetuneFlags(values: FinetuneValues): void {
  const isEvaluated = values["eval-data"] !== undefined || !!values["eval-split"];
  if (values["max-steps"] === 0) {
    throw new UsageError("Cannot run finetune: --max-steps must be positive or -1, received 0");
  }
  checkMethodFlags(values);
  checkWholeFlags(values);
  if (values["eval-steps"] && !isEvaluated) {
    throw new UsageError(
      "Cannot run finetune: --eval-steps needs --eval-data or --eval-split, without which it has no effect",
    );
  }
  checkNodeFlags(values, furtherSettings(values["training-options"]));
}
