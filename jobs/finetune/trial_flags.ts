/**
 * The flags of `finetune` that say what a trial trains, and not where anything lies: all that a job may set.
 * @module
 */

import { TrainingArguments } from "@peft/webgpu";
import { checkFlags, type Flags } from "../flags.ts";
import { NODE_FLAGS } from "./node_flags.ts";
import { settingsOf } from "./attempts.ts";
import { checkFinetuneFlags, FINETUNE_FLAGS, type FinetuneValues } from "./finetune_flags.ts";
import { methodConfig, readFields } from "./methods.ts";

/** Flags of files, and of what is printed or kept of a single run. */
export const OTHER_FLAGS: readonly string[] = [
  "model",
  "gguf-file",
  "data",
  "eval-data",
  "output",
  "preview",
  "report",
  "resume",
  "sample-prompt",
  ...Object.keys(NODE_FLAGS),
];

/** Flags that a trial may have. */
export const TRIAL_FLAGS: Flags = Object.fromEntries(
  Object.entries(FINETUNE_FLAGS).filter(([name]) => !OTHER_FLAGS.includes(name)),
);

/** Flags of a sweep's files: the same for all its trials. */
export const SWEEP_FILE_FLAGS: Flags = {
  model: FINETUNE_FLAGS.model,
  "gguf-file": FINETUNE_FLAGS["gguf-file"],
  data: FINETUNE_FLAGS.data,
  "eval-data": FINETUNE_FLAGS["eval-data"],
};

/** Places of a trial's files, which the worker that runs it says. */
export interface TrialPlaces {
  readonly model: string;
  readonly data: string;
  readonly "eval-data": string | undefined;
  readonly output: string;
}

/** Settings of the Trainer by which a run would reach beyond its machine. */
const isOutward = (setting: string) => /^(?:hub|pushToHub)/.test(setting);

/** The message of what a check throws, without its beginning; null where it throws nothing. */
function problemOf(check: () => unknown): string | null {
  try {
    check();
    return null;
  } catch (error) {
    return (error as Error).message.replace(/^Cannot [^:]+: /, "");
  }
}

/** What is wrong with settings of the Trainer, whatever else is set: not JSON, or outward. */
export function outwardProblems(options: unknown): string[] {
  try {
    const fields = readFields("--training-options", options === undefined ? options : String(options));
    return Object.keys(fields).filter(isOutward).map((name) =>
      `--training-options of a trial cannot set ${name}`
    );
  } catch (error) {
    return [(error as Error).message.replace(/^Cannot [^:]+: /, "")];
  }
}

/**
 * A trial's flags as values of `finetune`, and all that is wrong with them: the same check where a sweep is read and
 * where a job comes out of a queue.
 * @param given by flags' names
 */
export function checkTrial(
  given: Readonly<Record<string, unknown>>,
  places: TrialPlaces,
): { readonly values: FinetuneValues; readonly problems: readonly string[] } {
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(TRIAL_FLAGS, name));
  const known = Object.fromEntries(
    Object.entries(given).filter(([name]) => Object.hasOwn(TRIAL_FLAGS, name)),
  );
  const { values, problems } = checkFlags(FINETUNE_FLAGS, { ...known, ...places });
  const found = [...unknown.map((name) => `--${name} is no flag that a trial may set`), ...problems];
  if (found.length > 0) return { values, problems: found };
  const checks = [
    () => checkFinetuneFlags(values),
    () => methodConfig(values, Math.max(100, values["max-steps"])),
    () => values.task === "sft" && new TrainingArguments(settingsOf(values, 0)),
  ];
  const thrown = checks.map(problemOf).filter((problem) => problem !== null);
  return { values, problems: [...new Set([...outwardProblems(values["training-options"]), ...thrown])] };
}
