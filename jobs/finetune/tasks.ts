/**
 * The tasks of `finetune`: what is learned of which rows, and the trainer of each.
 * @module
 */

import {
  type CausalLM,
  type PeftModel,
  type RowDataset,
  type Tokenizer,
  Trainer,
  type TrainerCallback,
  type TrainingArguments,
} from "@peft/webgpu";
import {
  CPOTrainer,
  type Dataset,
  DPOTrainer,
  type GradientExchange,
  KTOTrainer,
  MODEL_LOSS,
  ORPOTrainer,
  withTokenMeasures,
} from "@peft/webgpu/train";
import { choice, number } from "../../options/rules.ts";
import { FULL, readFields } from "./methods.ts";
import { type LearningValues, sftExamples } from "./data.ts";
import { UsageError } from "../usage_error.ts";

/** Values that a task reads. */
export interface TaskValues extends LearningValues {
  readonly "block-size": number;
  readonly task: string;
  readonly method: string;
  readonly beta: number | undefined;
  readonly seed: number;
  readonly "training-options": string | undefined;
}

/** What a trainer is made of. */
export interface TaskParts {
  readonly model: CausalLM | PeftModel<CausalLM>;
  readonly args: Partial<TrainingArguments>;
  readonly tokenizer: Tokenizer;
  readonly callbacks: readonly TrainerCallback[];
  /** Of a training on several machines. */
  readonly gradientExchange?: GradientExchange;
}

/** Rows as a task trains on them: how many there are, and the trainer of a model. */
export interface TaskData {
  readonly rows: number;
  /** What is trained on and held out, where the model learns tokens. */
  readonly examples: Dataset | null;
  readonly heldOut: Dataset | null;
  /** A trainer; settings of the task are those of the flags. */
  trainer(parts: TaskParts): Trainer;
}

/** A task. */
interface Task {
  /** What its learning rate is to that of supervised training. */
  readonly rate: number;
  /** Reads the rows as examples. */
  read(
    train: RowDataset,
    heldOut: RowDataset | null,
    tokenizer: Tokenizer,
    values: TaskValues,
    maxLength: number,
  ): Promise<TaskData>;
}

/** A trainer's class, as far as tasks of preferences differ. */
type PreferenceClass = new (options: {
  model: CausalLM;
  args: Record<string, unknown>;
  trainDataset: RowDataset;
  evalDataset?: RowDataset;
  tokenizer: Tokenizer;
  callbacks: readonly TrainerCallback[];
  gradientExchange?: GradientExchange;
}) => Trainer;

/**
 * A task of a trainer of preferences; `needsReference` where it compares with the model without its adapter. Settings
 * that the user gives come before its defaults; those that make the task what it is may not be given.
 */
function preference(
  Class: unknown,
  needsReference: boolean,
  own: Readonly<Record<string, unknown>> = {},
  defaults: Readonly<Record<string, unknown>> = {},
): Task {
  return {
    rate: 0.25,
    read(train, heldOut, _tokenizer, values, maxLength) {
      const { task, method, beta, "training-options": options } = values;
      if (needsReference && method === FULL) {
        throw new UsageError(
          `Cannot run finetune: --task ${task} compares with the model without its adapter, which --method full has not`,
        );
      }
      const given = readFields("--training-options", options);
      if (Object.keys(own).some((name) => name in given)) {
        const list = Object.entries(own).map((entry) => entry.join(" ")).join(" with ");
        throw new UsageError(
          `Cannot run finetune: --task ${task} is ${list}, which --training-options cannot set`,
        );
      }
      return Promise.resolve({
        ...{ rows: train.length, examples: null, heldOut: null },
        trainer: ({ model, args, ...parts }) =>
          new (Class as PreferenceClass)({
            ...{ ...parts, model: model as CausalLM, trainDataset: train },
            ...heldOut && { evalDataset: heldOut },
            args: { ...defaults, maxLength, ...beta !== undefined && { beta }, ...args, ...own },
          }),
      });
    },
  };
}

const sft: Task = {
  rate: 1,
  async read(train, heldOut, tokenizer, values, maxLength) {
    const trainDataset = await sftExamples(train, tokenizer, values, maxLength);
    const evalDataset = heldOut ? await sftExamples(heldOut, tokenizer, values, maxLength) : undefined;
    return {
      ...{ rows: trainDataset.length, examples: trainDataset, heldOut: evalDataset ?? null },
      trainer: (parts) =>
        new Trainer({ ...parts, trainDataset, evalDataset, objective: withTokenMeasures(MODEL_LOSS) }),
    };
  },
};

/** Every task. */
const TASKS: Readonly<Record<string, Task>> = {
  sft,
  dpo: preference(DPOTrainer, true),
  orpo: preference(ORPOTrainer, false),
  kto: preference(KTOTrainer, true),
  simpo: preference(CPOTrainer, false, { lossType: "simpo", cpoAlpha: 0 }, { beta: 2 }),
};

/** Flags of the task. */
export const TASK_FLAGS = {
  task: {
    rule: choice(...Object.keys(TASKS)),
    default: "sft",
    help:
      "What is learned: sft texts and answers; dpo, orpo, simpo of two answers the better; kto of each whether it is wanted",
  },
  beta: {
    rule: number(0, 1000),
    help: "How much a preference weighs: beta of dpo, kto and orpo [0.1], and of simpo [2]",
  },
} as const;

/** What the learning rate of a method is multiplied by for a task. */
export function taskRate(task: string): number {
  return TASKS[task].rate;
}

/** Rows as the task trains on them. @throws {UsageError} for flags that the task does not know */
export function readTask(
  train: RowDataset,
  heldOut: RowDataset | null,
  tokenizer: Tokenizer,
  values: TaskValues,
  maxLength: number,
): Promise<TaskData> {
  const { task, beta } = values;
  if (task === "sft" && beta !== undefined) {
    throw new UsageError("Cannot run finetune: --beta is for tasks of preferences, not for --task sft");
  }
  for (const name of ["packing", "train-on-prompts"] as const) {
    if (task !== "sft" && values[name]) {
      throw new UsageError(`Cannot run finetune: --${name} is for --task sft`);
    }
  }
  return TASKS[task].read(train, heldOut, tokenizer, values, maxLength);
}
