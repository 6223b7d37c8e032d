/**
 * The training of a trial: a run of `finetune`, from its newest checkpoint, with numbers and curves at its end.
 * @module
 */

import { getLastCheckpoint, PeftModel, type TrainerCallback } from "@peft/webgpu";
import type { FolderStore } from "@peft/webgpu/io";
import { type LogEntry, resilientTrain } from "@peft/webgpu/train";
import type { Base } from "../base.ts";
import { Attempts, numbersOf } from "../finetune/attempts.ts";
import { type OpenData, readTrainingRows } from "../finetune/data.ts";
import type { FinetuneValues } from "../finetune/finetune_flags.ts";
import type { Curves } from "./protocol.ts";

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
  save(folder: FolderStore): Promise<void>;
  /** Frees the device's memory. */
  dispose(): void;
  readonly steps: number;
  readonly maxSteps: number;
  readonly metrics: Record<string, number | null>;
  readonly curves: Curves;
}

/** What a trial is trained with. */
export interface TrialParts {
  readonly base: Base;
  /** What files say of the base, in place of its name on this machine. */
  readonly modelName: string;
  readonly openData: OpenData;
  /** Where checkpoints lie. */
  readonly folder: FolderStore;
  readonly callbacks: readonly TrainerCallback[];
  readonly signal: AbortSignal;
}

/** Trains from the newest checkpoint of a folder. @returns null where the work was ended before its end */
export async function trainTrial(values: FinetuneValues, parts: TrialParts): Promise<Trained | null> {
  const { base, modelName, openData, folder, callbacks, signal } = parts;
  const tokenizer = await base.loadTokenizer();
  const attempts = new Attempts(values, tokenizer, await readTrainingRows(values, openData), {
    loadBase: () => base.loadModel(values),
    callbacks: ({ base: { config } }) => {
      config.nameOrPath = modelName;
      return callbacks;
    },
    ...{ isQuiet: true, outputDir: folder },
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
      resumeFromCheckpoint: await getLastCheckpoint(folder) ?? false,
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
    const save = async (folder: FolderStore) => {
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
