/**
 * Names that flags have elsewhere: in transformers, TRL, peft and the tools around them.
 * @module
 */

/** Flags by the names of others, with dashes. */
const USUAL_NAMES: Readonly<Record<string, readonly string[]>> = {
  model: ["model-name-or-path", "model-name", "base-model"],
  data: ["dataset", "dataset-name", "train-file", "train-data", "train-dataset"],
  "eval-data": ["eval-dataset", "eval-file", "validation-file"],
  output: ["output-dir", "out", "out-dir"],
  lr: ["learning-rate"],
  "batch-size": ["batch", "per-device-train-batch-size", "train-batch-size", "micro-batch-size"],
  accumulation: ["gradient-accumulation-steps", "grad-accum"],
  epochs: ["num-train-epochs", "num-epochs"],
  "block-size": [
    "max-length",
    "max-seq-length",
    "max-seq-len",
    "sequence-len",
    "cutoff-len",
    "context-length",
  ],
  schedule: ["lr-scheduler-type", "lr-scheduler", "scheduler"],
  warmup: ["warmup-ratio"],
  optim: ["optimizer"],
  rank: ["r", "lora-r", "lora-rank"],
  alpha: ["lora-alpha"],
  dropout: ["lora-dropout"],
  targets: ["target-modules", "lora-target-modules", "lora-target"],
  rslora: ["use-rslora"],
  method: ["peft-type", "peft-method"],
  "virtual-tokens": ["num-virtual-tokens"],
  resume: ["resume-from-checkpoint"],
  "max-new-tokens": ["max-tokens", "max-length", "n-predict"],
};

/** The flag among `flags` that others call `name`, or null. */
export function usualName(name: string, flags: readonly string[]): string | null {
  return flags.find((flag) => USUAL_NAMES[flag]?.includes(name)) ?? null;
}
