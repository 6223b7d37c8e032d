/**
 * The data of commands that train and evaluate: files as rows, and rows as examples.
 * @module
 */

import { loadDataset, type RowDataset, SFTConfig, type Tokenizer } from "@peft/webgpu";
import type { FileInput, FolderInput } from "@peft/webgpu/io";
import { SFTDataset } from "@peft/webgpu/train";
import { flag, integer, number, text } from "../../options/rules.ts";
import { counted } from "../counted.ts";
import { UsageError } from "../usage_error.ts";

/** What a flag of data takes. */
export const DATA_HELP =
  "Files with commas between, or folders of them: .jsonl, .json, .csv, .tsv, .txt, .parquet, each also .gz; rows are told by their keys";

/** Flags that say which rows there are. */
export const ROW_FLAGS = {
  data: { rule: text, required: true, help: DATA_HELP },
  weights: {
    rule: text,
    help:
      "How often each file of --data is drawn from, as numbers with commas between; default: every row once",
  },
  columns: {
    rule: text,
    help: "Names of columns that are not the usual ones, such as prompt=question,completion=reply",
  },
  "max-samples": { rule: integer(1, 1e12), help: "Rows to use at most, from the beginning" },
  "skip-bad-rows": {
    rule: flag,
    help: "Leave out rows that cannot be read, and count them, in place of an error",
  },
} as const;

/** Flags that say what is learned of rows. */
export const LEARNING_FLAGS = {
  packing: {
    rule: flag,
    help:
      "Put several short examples into one row, which do not see each other: less padding, the same losses",
  },
  "train-on-prompts": {
    rule: flag,
    help: "Learn prompts and what users say too; default: completions and the assistant's words alone",
  },
} as const;

/** Flags of what is held out of training. */
export const HELD_OUT_FLAGS = {
  "eval-data": { rule: text, help: "Held-out data of the same forms: its loss is printed before and after" },
  "eval-split": {
    rule: number(0, 0.9),
    help: "Part of the rows of --data to hold out in place of --eval-data",
  },
} as const;

/** Values of {@linkcode ROW_FLAGS}. */
export interface RowValues {
  readonly data: string;
  readonly weights: string | undefined;
  readonly columns: string | undefined;
  readonly "max-samples": number | undefined;
  readonly "skip-bad-rows": boolean;
}

/** Values of {@linkcode LEARNING_FLAGS}. */
export interface LearningValues {
  readonly packing: boolean;
  readonly "train-on-prompts": boolean;
}

/** The items of a list with commas between. */
export const fileNames = (list: string) =>
  list.split(",").map((part) => part.trim()).filter((part) => part !== "");

/** The numbers of `--weights`. @throws {UsageError} for anything else */
function readWeights(list: string | undefined): number[] | null {
  if (list === undefined) return null;
  const weights = fileNames(list).map(Number);
  if (weights.length > 0 && weights.every(Number.isFinite)) return weights;
  throw new UsageError(
    `Cannot read the data: --weights must be numbers with commas between, received "${list}"`,
  );
}

/** The pairs of `--columns`. @throws {UsageError} for anything else */
function readColumns(list: string | undefined): Record<string, string> {
  const pairs = fileNames(list ?? "").map((part) => part.split("=").map((name) => name.trim()));
  if (pairs.every((pair) => pair.length === 2 && pair.every((name) => name !== ""))) {
    return Object.fromEntries(pairs);
  }
  throw new UsageError(
    `Cannot read the data: --columns must be pairs such as prompt=question, received "${list}"`,
  );
}

/** What a name of data stands for; a path, where nothing else is said. */
export type OpenData = (name: string) => FileInput | FolderInput | Promise<FileInput | FolderInput>;

/** The rows of files. @throws {TypeError} for a row that cannot be read, naming file and line */
export async function readRows(
  files: string,
  values: Omit<RowValues, "data">,
  seed = 42,
  open: OpenData = (name) => name,
): Promise<RowDataset> {
  const rows = await loadDataset(await Promise.all(fileNames(files).map(open)), {
    weights: readWeights(values.weights),
    columns: readColumns(values.columns),
    maxSamples: values["max-samples"] ?? null,
    onBadRow: values["skip-bad-rows"] ? "skip" : "error",
    seed,
  });
  const { skippedCount, skipped: [first] } = rows;
  if (skippedCount > 0) {
    console.log(`skipped ${counted(skippedCount, "row")}, the first ${first.where}: ${first.problem}`);
  }
  return rows;
}

/** The rows to train on and those that are held out, if any. */
export interface TrainingRows {
  readonly train: RowDataset;
  readonly heldOut: RowDataset | null;
}

/** Reads them. */
export async function readTrainingRows(
  values: RowValues & {
    readonly "eval-data": string | undefined;
    readonly "eval-split": number | undefined;
    readonly seed: number;
  },
  open?: OpenData,
): Promise<TrainingRows> {
  const { data, seed, "eval-data": evalData, "eval-split": testSize } = values;
  if (evalData !== undefined && testSize !== undefined) {
    throw new UsageError("Cannot run finetune: --eval-data and --eval-split exclude each other");
  }
  const rows = await readRows(data, values, seed, open);
  if (testSize) {
    const { train, test } = rows.trainTestSplit({ testSize, seed });
    return { train, heldOut: test };
  }
  const more = { ...values, weights: undefined, "max-samples": undefined };
  return { train: rows, heldOut: evalData === undefined ? null : await readRows(evalData, more, seed, open) };
}

/**
 * Rows as examples of at most `maxLength` tokens: texts one after another, cut into blocks; other rows one by one or packed.
 * Says what was cut and left out.
 */
export async function sftExamples(
  rows: RowDataset,
  tokenizer: Tokenizer,
  values: LearningValues & { readonly seed?: number; readonly "block-size": number },
  maxLength: number,
): Promise<SFTDataset> {
  const { seed = 42, packing, "train-on-prompts": everything } = values;
  const settings = new SFTConfig({
    maxLength,
    packing,
    textBlocks: true,
    truncationMode: "keep_end", // of a row that is too long, the answer at its end is what is learned
    assistantOnlyLoss: everything ? false : null,
    completionOnlyLoss: everything ? false : null,
  });
  const options = { ...settings, maxPositions: maxLength, seed, needsLengths: true };
  const examples = new SFTDataset(rows, tokenizer, options);
  try {
    await examples.prepare();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(error.message.replace("raise maxLength", "raise --block-size"), { cause: error });
  }
  const { cutRows = 0, cutTokens = 0, droppedRows = 0, firstDropped = null } = examples.stats ?? {};
  if (packing) {
    console.log(`packed ${counted(rows.length, "example")} into ${counted(examples.length, "row")}`);
  }
  if (cutRows > 0) {
    const cure = values["block-size"] > maxLength ? "" : ": --block-size keeps more"; // else the model has no more positions
    console.log(
      `cut ${counted(cutRows, "row")} at ${maxLength} tokens (${counted(cutTokens, "token")})${cure}`,
    );
  }
  if (droppedRows > 0) {
    console.log(
      `left out ${counted(droppedRows, "row")} without anything to learn, the first ${firstDropped}`,
    );
  }
  return examples;
}
