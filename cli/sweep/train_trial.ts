/**
 * The training of a trial: a run of `finetune`, from its newest checkpoint, with numbers and curves at its end.
 * @module
 */

import { getLastCheckpoint, PeftModel, type Tokenizer, type TrainerCallback } from "@peft/webgpu";
import { type LogEntry, resilientTrain } from "@peft/webgpu/train";
import { loadBase } from "../loading.ts";
import { Attempts } from "../../jobs/finetune/attempts.ts";
import { readTrainingRows } from "../../jobs/finetune/data.ts";
import type { FinetuneValues } from "../../jobs/finetune/finetune_flags.ts";
import { numbersOf } from "../training/run_reports.ts";
import type { Curves } from "../../jobs/sweep/protocol.ts";

/** Names of numbers that tell of time, and differ from run to run. */
const isTime = (name: string) => /runtime|seconds|persecond/i.test(name);

/** A number as JSON has it. */
export const finite = (value: number) => Number.isFinite(value) ? value : null;

/** Numbers as JSON has them, without those that tell of time. */
function metricsOf(numbers: Readonly<Record<string, number | null>>): Record<string, number | null> {
  const kept = Object.entries(numbers).filter(([name]) => !isTime(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, value === null ? null : finite(value)]));
}

/** Curves of a history of logs. */
function curvesOf(history: readonly LogEntry[]): Curves {
  const curves: Curves = {};
  for (const { step, epoch: _epoch, ...numbers } of history) {
    for (const [name, value] of Object.entries(numbers)) {
      if (Number.isFinite(value) && !isTime(name)) (curves[name] ??= []).push([step, value]);
    }
  }
  return curves;
}

/** A run that ended. */
export interface Trained {
  /** Writes what was trained, as `finetune` does. */
  save(folder: string): Promise<void>;
  /** Frees the device's memory. */
  dispose(): void;
  readonly steps: number;
  readonly maxSteps: number;
  readonly metrics: Record<string, number | null>;
  readonly curves: Curves;
}

/**
 * Trains from the newest checkpoint of `values.output`.
 * @param modelName what files say of the base, in place of its path on this machine
 * @returns null where the work was ended before its end
 */
export async function trainTrial(
  values: FinetuneValues,
  modelName: string,
  tokenizer: Tokenizer,
  callback: TrainerCallback,
  signal: AbortSignal,
): Promise<Trained | null> {
  const attempts = new Attempts(values, tokenizer, await readTrainingRows(values), {
    loadBase: () => loadBase(values),
    callbacks: ({ base }) => {
      base.config.nameOrPath = modelName;
      return [callback];
    },
    isQuiet: true,
  });
  let attempt = await attempts.make();
  let isFirst = true;
  let isKept = false;
  try {
    const { globalStep, trainingLoss, aborted } = await resilientTrain({
      makeTrainer: async () => {
        if (!isFirst) attempt = await attempts.make();
        isFirst = false;
        return attempt.trainer;
      },
      resumeFromCheckpoint: await getLastCheckpoint(values.output) ?? false,
      signal,
    });
    if (aborted || signal.aborted) return null;
    const { model, trainer } = attempt;
    const isEvaluated = values["eval-data"] !== undefined || !!values["eval-split"];
    const found = isEvaluated ? metricsOf(numbersOf(await trainer.evaluate())) : {};
    const { logHistory, maxSteps } = trainer.state;
    const curves = curvesOf(logHistory);
    const { evalLoss } = found;
    const points = curves.evalLoss ?? [];
    if (typeof evalLoss === "number" && points.at(-1)?.[0] !== globalStep) {
      curves.evalLoss = [...points, [globalStep, evalLoss]];
    }
    isKept = true;
    const save = async (folder: string) => {
      await model.savePretrained(folder);
      if (!(model instanceof PeftModel)) await tokenizer.savePretrained(folder);
    };
    return {
      save,
      dispose: () => model.dispose(),
      steps: globalStep,
      maxSteps,
      metrics: { trainLoss: finite(trainingLoss), ...found },
      curves,
    };
  } finally {
    if (!isKept) attempt.model.dispose();
  }
}
