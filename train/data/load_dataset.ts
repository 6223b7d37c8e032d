/**
 * Files as one dataset of rows.
 * @module
 */

import type { FileInput, FileSource, FolderInput, FolderSource } from "../../io/file_source.ts";
import { isDirectory } from "../../io/files.ts";
import { isWebAddress, openFile, openFolder } from "../../io/open_file.ts";
import { checkOptions } from "../../options/names.ts";
import { choice, flag, integer, orNull, type Rule, rule, table, text } from "../../options/rules.ts";
import { completeOptions, namesOf, option, type OptionTable } from "../../options/table.ts";
import { kindOf } from "../../options/kinds.ts";
import { FORMAT_NAMES, type FormatName, isRowFile } from "./files/formats.ts";
import { mixRows, type StoppingStrategy } from "./mix.ts";
import { RowDataset, type RowPart } from "./row_dataset.ts";
import { closeAnyway, RowReader } from "./row_reader.ts";
import { checkColumns, readRow } from "./rows.ts";

/**
 * A file, or a folder of files of rows.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { DataInput } from "@peft/webgpu/train";
 *
 * const more = new File([JSON.stringify({ text: "Arr!" })], "more.jsonl"); // as a user picks one
 * const inputs: DataInput[] = ["examples/demo/data/pirate.jsonl", more];
 * console.log((await loadDataset(inputs)).length); // 121
 * ```
 */
export type DataInput = FileInput | FolderInput;

/**
 * Options of `loadDataset`.
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { LoadDatasetOptions } from "@peft/webgpu/train";
 *
 * const options: Partial<LoadDatasetOptions> = { weights: [3, 1], maxSamples: 40, seed: 1, onBadRow: "skip" };
 * const rows = await loadDataset(["examples/demo/data/pirate.jsonl", "examples/demo/data/pirate_held_out.jsonl"], options);
 * console.log(rows.length); // 40, of which about 30 are of the first file
 * ```
 */
export interface LoadDatasetOptions {
  /** Format of every file; default null: by the ends of their names. */
  format: FormatName | null;
  /** Names of columns where they are not the usual ones, by the usual ones: `{ text: "body" }`. Default none. */
  columns: Readonly<Record<string, string>>;
  /** How often each input is drawn from, one number for each; default null: all rows, one input after another. */
  weights: readonly number[] | null;
  /** When a mixture by weights ends. Default "first_exhausted". */
  stoppingStrategy: StoppingStrategy;
  /** Seed of the mixture. Default 42. */
  seed: number;
  /** Rows that are kept, from the beginning; default null: all. */
  maxSamples: number | null;
  /**
   * Keep the places of rows instead of rows, and read each from its file when it is its turn: for files larger than
   * memory. Default null: for more than 64 MiB of files.
   */
  streaming: boolean | null;
  /** What happens at a row that cannot be read: an error that names file and line, or it is left out and counted. */
  onBadRow: "error" | "skip";
}

/** Bytes of files from which on rows are read again. */
const STREAMED_BYTES = 64 * 2 ** 20;

const isWeights = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((weight) => Number.isFinite(weight) && weight >= 0) &&
  value.some((weight) => weight > 0);

const weights: Rule<readonly number[]> = rule("numbers of at least 0, not all of them 0", isWeights);

const OPTIONS: OptionTable<LoadDatasetOptions> = {
  format: option<FormatName | null>(null, orNull(choice(...FORMAT_NAMES))),
  columns: option<Readonly<Record<string, string>>>({}, table("map names to names of columns", text)),
  weights: option<readonly number[] | null>(null, orNull(weights)),
  stoppingStrategy: option<StoppingStrategy>("first_exhausted", choice("first_exhausted", "all_exhausted")),
  seed: option(42, integer(0)),
  maxSamples: option<number | null>(null, orNull(integer(1))),
  streaming: option<boolean | null>(null, orNull(flag)),
  onBadRow: option<"error" | "skip">("error", choice("error", "skip")),
};

function refuse(message: string): never {
  throw new RangeError(`Cannot load a dataset: ${message}`);
}

const isFolder = (input: DataInput): input is FolderSource =>
  typeof input === "object" && "open" in input && typeof input.open === "function";

/** Opens a file. @throws {TypeError} for anything that is none, such as a row */
async function openInput(input: FileInput, name?: string): Promise<FileSource> {
  const isInput = typeof input === "string" || input instanceof URL || input instanceof Blob ||
    input instanceof Uint8Array || input instanceof ArrayBuffer;
  const isSource = typeof input === "object" && input !== null &&
    ["read", "close"].every((method) => typeof Reflect.get(input, method) === "function");
  if (isInput || isSource) return await openFile(input, name);
  const advice = typeof input === "object" && input !== null && readRow(input) !== "no key"
    ? "; rows in memory need no file: give them to the trainer as they are, or use RowDataset.from()"
    : "";
  throw new TypeError(
    `Cannot load a dataset: paths, URLs, files that were picked, bytes or folders are required, received ${
      kindOf(input)
    }${advice}`,
  );
}

/** Files that an input names. */
async function sourcesOf(input: DataInput): Promise<FileSource[]> {
  if (typeof input !== "string" && (typeof input !== "object" || input === null)) {
    return [await openInput(input)];
  }
  if (typeof input === "string" && !isWebAddress(input) && await isDirectory(input)) {
    return await filesIn(openFolder(input));
  }
  if (typeof input === "object" && "getFileHandle" in input) {
    return refuse(
      "files are required in place of a folder that was dropped, whose files nobody can list: give its files",
    );
  }
  if (isFolder(input)) return await filesIn(input);
  const isList = typeof input === "object" && "length" in input && !ArrayBuffer.isView(input);
  if (isList) return await Promise.all(Array.from(input, (file) => openInput(file, file?.name)));
  const name = input instanceof Blob && "name" in input ? String(input.name) : undefined;
  return [await openInput(input as FileInput, name)];
}

/** Files of rows in a folder, by name. */
async function filesIn(folder: FolderSource): Promise<FileSource[]> {
  const names = (await folder.list?.() ?? []).filter(isRowFile).sort();
  if (names.length === 0) {
    refuse(`a folder with files of rows is required, received none in "${folder.name}"`);
  }
  return await Promise.all(names.map(async (name) => (await folder.open(name))!));
}

/**
 * Reads files of rows: .jsonl, .json, .csv, .tsv, .txt and .parquet, each also as .gz. What a row is, its keys tell:
 * `text`, `prompt` with `completion`, `messages`, `conversations`, `instruction` with `output`, `question` with `answer`,
 * `input_ids`, `chosen` with `rejected`, or `prompt`, `completion` and `label`. Every row is checked at once; where files
 * are large, they are read again row by row, and must stay as they are.
 * @param inputs one or several: paths, URLs, picked files, bytes, or folders with files of rows
 * @throws {TypeError} for a row that cannot be read, naming file and line, and for a file that is broken
 * @throws {RangeError} for files without rows, and for weights that are not one for each input
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 *
 * const rows = await loadDataset("examples/demo/data/pirate.jsonl");
 * console.log(rows.length);
 * await rows.close();
 * ```
 */
export async function loadDataset(
  inputs: DataInput | readonly DataInput[],
  options: Partial<LoadDatasetOptions> = {},
): Promise<RowDataset> {
  checkOptions("load a dataset", options, namesOf(OPTIONS));
  const settings = completeOptions(OPTIONS, options, { refuse });
  checkColumns("load a dataset", settings.columns);
  const given: readonly DataInput[] = Array.isArray(inputs) ? inputs : [inputs as DataInput];
  if (given.length === 0) refuse("a file is required, received none");
  if (settings.weights && settings.weights.length !== given.length) {
    refuse(`${given.length} weights are required, one for each input, received ${settings.weights.length}`);
  }
  const sources: FileSource[][] = [];
  const reader = new RowReader(settings);
  const parts: RowPart[] = [];
  const lengths: number[] = [];
  try {
    for (const input of given) sources.push(await sourcesOf(input));
    const bytes = sources.flat().reduce((sum, { size }) => sum + size, 0);
    for (const files of sources) {
      let length = 0;
      for (const source of files) {
        const part = await reader.read(source, settings.streaming ?? bytes > STREAMED_BYTES);
        if (part.length === 0) refuseEmpty(source, reader);
        parts.push(part);
        length += part.length;
      }
      lengths.push(length);
    }
  } catch (error) {
    for (const source of sources.flat()) await closeAnyway(source);
    throw error;
  }
  const { weights, seed, stoppingStrategy, maxSamples } = settings;
  const mixed = weights && mixRows(lengths, weights, seed, stoppingStrategy);
  const dataset = new RowDataset(parts, mixed, { count: reader.skippedCount, rows: reader.skipped });
  return maxSamples !== null && maxSamples < dataset.length ? dataset.slice(0, maxSamples) : dataset;
}

function refuseEmpty({ name }: FileSource, { skippedCount, skipped }: RowReader): never {
  const [first] = skipped;
  throw new RangeError(
    `Cannot read "${name}": at least one row is required, received ${
      first
        ? `none that can be read; ${
          skippedCount === 1 ? "1 was skipped," : `${skippedCount} were skipped, the first`
        } ${first.where}: ${first.problem}`
        : "none"
    }`,
  );
}
