/**
 * Flags that describe a training: those of `finetune` that its memory depends on, which `info --plan` takes too.
 * @module
 */

import type { CausalLM, PlanOptions } from "@peft/webgpu";
import { OPTIMIZER_NAMES, type OptimizerName } from "@peft/webgpu/train";
import { type MethodValues, virtualTokensOf } from "./methods.ts";
import { choice, flag, integer, number } from "../../options/rules.ts";

/** The flags. */
export const TRAINING_FLAGS = {
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
    rule: choice(...OPTIMIZER_NAMES),
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
  readonly "batch-size": number;
  readonly accumulation: number;
  readonly "block-size": number;
  readonly "gradient-checkpointing": boolean;
  readonly fp16: boolean;
  readonly optim: string;
  readonly memory: number | undefined;
}

/** Tokens of a row: no more than the model has positions for, after those of virtual tokens. */
export function blockSizeOf(
  values: TrainingValues & Pick<MethodValues, "method" | "virtual-tokens">,
  base: CausalLM,
): number {
  return Math.min(values["block-size"], base.facts.maxPositions - virtualTokensOf(values));
}

/** What is said where the model has fewer positions than `--block-size` asks for; null where it has them. */
export function blockSizeNote(
  values: TrainingValues & Pick<MethodValues, "method" | "virtual-tokens">,
  base: CausalLM,
): string | null {
  const [size, asked] = [blockSizeOf(values, base), values["block-size"]];
  if (size === asked) return null;
  return `rows have at most ${size} tokens: the model has no positions for the ${asked} of --block-size`;
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
  values: TrainingValues & Pick<MethodValues, "method" | "virtual-tokens">,
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
