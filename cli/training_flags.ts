/**
 * Flags that describe a training: those of `finetune` that its memory depends on, which `info --plan` takes too.
 * @module
 */

import type { CausalLM, PlanOptions } from "@peft/webgpu";
import type { OptimizerName } from "@peft/webgpu/train";
import { choice, flag, integer, number, text } from "../options/rules.ts";

/** The flags. */
export const TRAINING_FLAGS = {
  rank: { rule: integer(1, 4096), default: 8, help: "Rank r" },
  targets: {
    rule: text,
    help:
      'Modules to adapt: names with commas between, "all-linear", or a regular expression in slashes; default: what peft adapts in the model',
  },
  "batch-size": { rule: integer(1, 65536), default: 8, help: "Rows per batch" },
  accumulation: { rule: integer(1, 65536), default: 1, help: "Batches per optimizer step" },
  "block-size": { rule: integer(2, 2 ** 20), default: 128, help: "Tokens per row" },
  "gradient-checkpointing": {
    rule: flag,
    help:
      "Compute blocks again for their gradient instead of keeping them: less memory, about a third more time",
  },
  fp16: { rule: flag, help: "Keep activations for their gradients as float16: about half their memory" },
  optim: {
    rule: choice("adamw_torch", "adamw_8bit", "sgd"),
    default: "adamw_torch",
    help: "Optimizer; adamw_8bit keeps its moments in a byte each",
  },
  memory: {
    rule: number(1, 1e9),
    help: "Device memory to use at most, in MB: training that needs more is refused before it starts",
  },
} as const;

/** Values of {@linkcode TRAINING_FLAGS}. */
export interface TrainingValues {
  readonly targets: string | undefined;
  readonly "batch-size": number;
  readonly accumulation: number;
  readonly "block-size": number;
  readonly "gradient-checkpointing": boolean;
  readonly fp16: boolean;
  readonly optim: string;
  readonly memory: number | undefined;
}

/** Module names, a pattern, or "all-linear"; null for what peft adapts. */
export function parseTargets(text: string | undefined): string[] | string | null {
  if (text === undefined) return null;
  const pattern = /^\/(.*)\/$/.exec(text);
  if (pattern) return pattern[1];
  return text === "all-linear" ? text : text.split(",").map((name) => name.trim());
}

/** Tokens of a row: no more than the model has positions for. */
export function blockSizeOf(values: TrainingValues, base: CausalLM): number {
  return Math.min(values["block-size"], base.facts.maxPositions);
}

/** The flags as settings of the Trainer, but for sizes. */
export function trainingArgs(values: TrainingValues) {
  return {
    optim: values.optim as OptimizerName,
    fp16: values.fp16,
    gradientCheckpointing: values["gradient-checkpointing"],
    gradientAccumulationSteps: values.accumulation,
  };
}

/** What `planMemory` needs of the flags. */
export function planOptions(
  values: TrainingValues,
  base: CausalLM,
): PlanOptions & { readonly gradientCheckpointing: boolean } {
  return {
    batch: values["batch-size"],
    length: blockSizeOf(values, base),
    gradientCheckpointing: values["gradient-checkpointing"],
    args: trainingArgs(values),
    budget: values.memory === undefined ? undefined : values.memory * 1e6,
  };
}
