/**
 * The data that is open: its rows, and what a reader is told of them.
 * @module
 */

import { loadDataset, RowDataset, SFTConfig, type Tokenizer, urlFolder } from "@peft/webgpu";
import { type Example, type Row, SFTDataset } from "@peft/webgpu/train";
import type { BadRow, DataFacts, DataSource, MaskedExample, OpenDataOptions } from "../protocol.ts";
import { nameOf, refusePickles } from "./dropped_files.ts";
import { Refusal } from "./errors.ts";
import { type OpenModel, PLAIN_TEMPLATE } from "./open_model.ts";

/** Bytes of data that a page can look through. */
const MOST_BYTES = 512 * 2 ** 20;
/** Tokens of a row where nobody says how many. */
const USUAL_LENGTH = 1024;
/** Rows from which on some are held out. */
const ROWS_TO_HOLD_OUT = 20;
/** Bars of the histogram. */
const BARS = 16;
/** Texts whose own lengths are measured: examples of texts are blocks. */
const MEASURED_TEXTS = 2000;
/** Of trainings and splits alike. */
const SPLIT_SEED = 42;

/** How the model is spoken to: with turns, or by texts that it continues. */
export type Form = "chat" | "text";

/** What decides how rows become examples. */
export interface ExampleSettings {
  readonly length: number;
  readonly learnPrompts: boolean;
  readonly packing?: boolean;
  /** Positions that virtual tokens take. */
  readonly virtualTokens?: number;
}

/** Open data. */
export interface OpenData {
  readonly options: OpenDataOptions;
  readonly form: Form;
  readonly train: RowDataset;
  readonly heldOut: RowDataset | null;
  readonly examples: SFTDataset;
  readonly facts: DataFacts;
}

const FORMATS: readonly (readonly [test: (row: Row) => boolean, format: string])[] = [
  [
    (row) => "chosen" in row,
    "Two answers to compare (chosen, rejected): the studio learns the rest of the row",
  ],
  [(row) => "label" in row, "Answers that were judged (label)"],
  [(row) => "messages" in row, "Conversations (questions and answers)"],
  [(row) => "completion" in row, "Prompts and completions"],
  [(row) => "text" in row, "Texts"],
  [() => true, "Token ids"],
];

/** Rows as examples of the model. */
export function examplesOf(
  rows: RowDataset,
  { base, tokenizer }: Pick<OpenModel, "base" | "tokenizer">,
  settings: ExampleSettings,
): SFTDataset {
  const { length, learnPrompts, packing = false, virtualTokens = 0 } = settings;
  const { maxPositions, vocabSize } = base.facts;
  const config = new SFTConfig({
    maxLength: Math.min(length, maxPositions - virtualTokens),
    packing,
    textBlocks: true,
    truncationMode: "keep_end", // of a row that is too long, the answer at its end is what is learned
    assistantOnlyLoss: learnPrompts ? false : null,
    completionOnlyLoss: learnPrompts ? false : null,
  });
  return new SFTDataset(rows, tokenizer, {
    ...config,
    maxPositions: maxPositions - virtualTokens,
    vocabSize,
    seed: SPLIT_SEED,
    needsLengths: true,
  });
}

/** An example token by token. */
export function maskedExample(index: number, example: Example, tokenizer: Tokenizer): MaskedExample {
  const { inputIds, labels = inputIds } = example;
  const stream = tokenizer.decodeStream();
  const tokens = inputIds.map((id, t) => ({ text: stream.push(id), trained: t > 0 && labels[t] !== -100 }));
  const rest = stream.flush();
  if (rest !== "" && tokens.length > 0) tokens.at(-1)!.text += rest;
  return { index, tokens };
}

function histogram(lengths: readonly number[]): DataFacts["tokens"]["histogram"] {
  const [low, high] = lengths.reduce(
    ([low, high], n) => [Math.min(low, n), Math.max(high, n)],
    [Infinity, 0],
  );
  const width = Math.max(1, Math.ceil((high + 1 - low) / BARS));
  const bars = Array.from({ length: Math.ceil((high + 1 - low) / width) }, (_, i) => ({
    ...{ from: low + i * width, to: low + (i + 1) * width, count: 0 },
  }));
  for (const length of lengths) bars[Math.floor((length - low) / width)].count++;
  return bars;
}

/** A skipped row as file and line: `"a.jsonl", line 3`. */
function badRow({ where, problem }: { readonly where: string; readonly problem: string }): BadRow {
  const [, file = where, unit, number] = /^"(.*)"(?:, (line|row) (\d+))?$/.exec(where) ?? [];
  return { file, line: unit ? Number(number) : null, problem };
}

/** The rows of a source, those that are held out by itself, and its name. */
async function readRows(
  source: DataSource,
  model: OpenModel,
  assetsUrl: string,
  onBadRow: "skip" | "error",
): Promise<{ rows: RowDataset; heldOut: RowDataset | null; name: string }> {
  switch (source.kind) {
    case "sample": {
      const folder = urlFolder(new URL("data/", assetsUrl));
      const file = async (name: string) => {
        const found = await folder.open(name);
        if (found) return await loadDataset(found);
        throw new Error(`Cannot read "${name}": a file of ${folder.name} is required, received none`);
      };
      if (model.facts.hasChatTemplate) {
        return { rows: await file("support.jsonl"), heldOut: null, name: "Support answers (sample)" };
      }
      const [rows, heldOut] = await Promise.all([file("pirate.jsonl"), file("pirate_held_out.jsonl")]);
      return { rows, heldOut, name: "Pirate stories (sample)" };
    }
    case "pairs": {
      const pairs = source.pairs.filter(({ question, answer }) => question.trim() + answer.trim() !== "");
      const half = pairs.findIndex(({ question, answer }) => question.trim() === "" || answer.trim() === "");
      if (pairs.length === 0 || half >= 0) {
        throw new Refusal(
          "bad-data",
          pairs.length === 0 ? "There is nothing to learn yet." : `Pair ${half + 1} is half empty.`,
          "Each pair needs a question and an answer.",
        );
      }
      const { system } = source;
      const rows = RowDataset.from(pairs.map((pair) => ({ ...pair, ...system && { system } })));
      return { rows, heldOut: null, name: `${pairs.length} typed answers` };
    }
    case "files": {
      const { files } = source;
      refusePickles(files, /\.(jsonl?|csv|tsv|txt|parquet)(\.gz)?$/i);
      const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
      if (bytes > MOST_BYTES) {
        throw new Refusal(
          "bad-data",
          `These files have ${(bytes / 1e9).toFixed(1)} GB, more than a page can look through.`,
          "Use up to 0.5 GB: a training learns most from its first thousands of rows. Larger data are for the command line.",
        );
      }
      const inputs = files.map(({ path, file }) => new File([file], nameOf(path)));
      const rows = await loadDataset(inputs, { onBadRow, streaming: false });
      return {
        rows,
        heldOut: null,
        name: files.length === 1 ? nameOf(files[0].path) : `${files.length} files`,
      };
    }
  }
}

/** The rows to train on and those that are held out. */
function split(rows: RowDataset, own: RowDataset | null, wanted: number | undefined) {
  const part = Math.min(0.5, wanted ?? (own === null && rows.length >= ROWS_TO_HOLD_OUT ? 0.1 : 0));
  if (own || part <= 0 || rows.length < 2) return { train: rows, heldOut: own };
  const { train, test } = rows.trainTestSplit({ testSize: part, seed: SPLIT_SEED });
  return { train, heldOut: test };
}

/** Lengths of what a reader takes for a row: texts as they are, other rows as examples. */
function lengthsOf(rows: RowDataset, examples: SFTDataset, tokenizer: Tokenizer): number[] {
  if (!rows.hasTexts) return Array.from({ length: examples.length }, (_, i) => examples.lengthOf(i));
  const count = Math.min(rows.length, MEASURED_TEXTS);
  const lengths: number[] = [];
  for (let i = 0; i < count; i++) {
    const row = rows.at(i) as Row;
    if ("text" in row) lengths.push(tokenizer.encode(row.text).length + 1);
  }
  return lengths;
}

/** Rows that tell how many of them were read. */
function telling(rows: RowDataset, tell: (done: number, total: number) => void): RowDataset {
  const told = {
    length: rows.length,
    hasTexts: rows.hasTexts,
    where: (index: number) => rows.where(index),
    at: (index: number) => {
      tell(index + 1, rows.length);
      return rows.at(index);
    },
  };
  return told as unknown as RowDataset; // what examples ask of it
}

/**
 * Opens data for a model.
 * @param tell called with the number of rows that were read; may end it by throwing
 * @throws {Refusal} or what the library throws
 */
export async function openData(
  options: OpenDataOptions,
  model: OpenModel,
  assetsUrl: string,
  tell: (done: number, total: number | null) => void,
): Promise<OpenData> {
  const { source, learnPrompts = false, skipBadRows = true } = options;
  const { tokenizer, facts: { contextLength, hasChatTemplate } } = model;
  const length = Math.min(contextLength, Math.max(2, Math.floor(options.length ?? USUAL_LENGTH)));
  const { rows, heldOut: own, name } = await readRows(
    source,
    model,
    assetsUrl,
    skipBadRows ? "skip" : "error",
  );
  const first = rows.at(0) as Row;
  const isChat = "messages" in first || "chosen" in first && "messages" in (first.language ?? {});
  if (!hasChatTemplate) tokenizer.chatTemplate = isChat ? PLAIN_TEMPLATE : null;
  const { train, heldOut } = split(rows, own, options.heldOut);
  const examples = examplesOf(telling(train, tell), model, { length, learnPrompts });
  await examples.prepare();
  const held = heldOut && examplesOf(heldOut, model, { length, learnPrompts });
  await held?.prepare();
  const lengths = lengthsOf(train, examples, tokenizer).sort((a, b) => a - b);
  const { tokens = 0, learnedTokens = 0, cutRows = 0, droppedRows = 0 } = examples.stats ?? {};
  const files = source.kind === "files" ? source.files : [];
  const example = (await examples.at(0))!;
  return {
    ...{ options, train, heldOut, examples },
    form: isChat ? "chat" : "text",
    facts: {
      name,
      form: isChat ? "chat" : "text",
      format: FORMATS.find(([test]) => test(first))![1],
      files: files.map(({ path, file }) => ({
        name: nameOf(path),
        bytes: file.size,
        fileFormat: /\.([a-z]+)(?:\.gz)?$/i.exec(path)?.[1].toLowerCase() ?? "unknown",
      })),
      rows: rows.length + (own?.length ?? 0),
      trainExamples: examples.length,
      heldOutExamples: held?.length ?? 0,
      badRows: rows.skipped.map(badRow),
      badRowCount: rows.skippedCount,
      tokens: {
        total: tokens,
        learned: learnedTokens,
        shortest: lengths[0],
        median: lengths[lengths.length >> 1],
        longest: lengths.at(-1)!,
        histogram: histogram(lengths),
      },
      cutExamples: cutRows,
      droppedRows,
      length,
      example: maskedExample(0, example, tokenizer),
    },
  };
}
