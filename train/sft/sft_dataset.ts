/**
 * Rows as the examples of a supervised fine-tuning: tokenized, cut, packed.
 * @module
 */

import { HostRandom } from "../../autograd/mod.ts";
import type { Dataset, Example } from "../data/example.ts";
import { PackPlan } from "../data/pack_plan.ts";
import type { RowDataset } from "../data/row_dataset.ts";
import { languageOf, type Row } from "../data/rows.ts";
import type { SFTDataSettings } from "./sft_config.ts";
import { SFTExamples, type SFTTokenizer } from "./sft_example.ts";

/**
 * Rows, or examples that are tokenized already.
 *
 * @example
 * ```ts
 * import { RowDataset } from "@peft/webgpu";
 * import type { SFTRows } from "@peft/webgpu/train";
 *
 * const texts: SFTRows = RowDataset.from([{ text: "Ahoy, matey!" }]); // tokenized by the trainer
 * const tokens: SFTRows = [{ inputIds: [1, 2, 3] }]; // tokenized already
 * console.log(texts.length, tokens.length); // 1 1
 * ```
 */
export type SFTRows = RowDataset | Dataset;

/**
 * What became of the rows.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, SFTTrainer } from "@peft/webgpu";
 * import type { SFTDataStats } from "@peft/webgpu/train";
 *
 * const processingClass = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const trainDataset = [{ prompt: "Who be ye?", completion: " A pirate." }, { text: "The sea be calm." }];
 * const trainer = new SFTTrainer({ model, processingClass, trainDataset, args: { reportTo: "none" } });
 * await trainer.trainDataset.prepare();
 * const { rows, tokens, learnedTokens }: SFTDataStats = trainer.trainDataset.stats!;
 * console.log(`${rows} rows, ${learnedTokens} of ${tokens} tokens are learned`);
 * ```
 */
export interface SFTDataStats {
  /** Rows that there were. */
  readonly rows: number;
  /** Rows of what is trained on: packed ones, or those with a label. */
  readonly examples: number;
  /** Tokens of the examples, after cutting. */
  readonly tokens: number;
  /** Those of them that are learned. */
  readonly learnedTokens: number;
  /** Rows that were longer than `maxLength`, and lost tokens. */
  readonly cutRows: number;
  /** Tokens that they lost. */
  readonly cutTokens: number;
  /** Rows that were left out, because no label is left in them. */
  readonly droppedRows: number;
  /** Where the first of those is; null for none. */
  readonly firstDropped: string | null;
}

/**
 * How rows become examples.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, RowDataset, SFTConfig } from "@peft/webgpu";
 * import { SFTDataset, type SFTDatasetOptions } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const options: SFTDatasetOptions = { ...new SFTConfig({ packing: true, maxLength: 64 }), maxPositions: 128, needsLengths: false };
 * const dataset = new SFTDataset(RowDataset.from([{ text: "Ahoy!" }, { text: "Arr!" }]), tokenizer, options);
 * await dataset.prepare();
 * console.log(dataset.length, dataset.lengthOf(0)); // one row, and its tokens
 * ```
 */
export interface SFTDatasetOptions extends SFTDataSettings {
  /** Positions of the model. */
  readonly maxPositions: number;
  /** Its tokens; default those of the tokenizer. */
  readonly vocabSize?: number;
  /** Seed of `shuffleDataset`. */
  readonly seed: number;
  /** Whether lengths must be known, which reads every row before the first example of large files. */
  readonly needsLengths: boolean;
}

/** Milliseconds after which tokenizing lets a page answer. */
const WORK_MS = 100;

/** Labels that count: all but -100, and the first, which no token predicts. */
function countLabels({ inputIds, labels = inputIds }: Example): number {
  let count = 0;
  for (let t = 1; t < labels.length; t++) if (labels[t] !== -100) count++;
  return count;
}

type Counts = { -readonly [Name in keyof SFTDataStats]: SFTDataStats[Name] };

/**
 * Examples of rows. Rows in memory are tokenized once, by `prepare()`; rows of large files each time that they are
 * asked for, and before that once only if their lengths must be known.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, loadDataset, SFTConfig } from "@peft/webgpu";
 * import { SFTDataset } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const rows = await loadDataset("examples/demo/data/pirate_held_out.jsonl");
 * const settings = { ...new SFTConfig({ maxLength: 128 }), maxPositions: 128, needsLengths: true };
 * const dataset = new SFTDataset(rows, tokenizer, settings);
 * await dataset.prepare(); // SFTTrainer does the same with its data
 * console.log(dataset.stats!.rows, dataset.stats!.cutRows); // how many rows there are, and how many are too long
 * ```
 */
export class SFTDataset implements Dataset {
  readonly #rows: SFTRows;
  readonly #examplesOf: SFTExamples;
  readonly #options: SFTDatasetOptions;
  /** Tokens of an example, at most. */
  readonly #most: number;
  /** Rows in the order of the examples, without those that were dropped; null before they are known. */
  #kept: Uint32Array | null = null;
  #lengths: Uint32Array | null = null;
  /** Examples in memory, before packing. */
  #examples: Example[] | null = null;
  #plan: PackPlan | null = null;
  #stats: SFTDataStats | null = null;
  #prepared: Promise<void> | null = null;
  /** Whether the row that was read last is a text. */
  #isText = false;

  /** Reads nothing yet. @throws {RangeError} for packing without a length */
  constructor(rows: SFTRows, tokenizer: SFTTokenizer, options: SFTDatasetOptions) {
    this.#rows = rows;
    this.#options = options;
    this.#examplesOf = new SFTExamples(tokenizer, options);
    this.#most = Math.min(options.maxLength ?? Infinity, options.maxPositions);
    const needsLength = options.packing ? "packing" : options.textBlocks ? "textBlocks" : null;
    if (needsLength && options.maxLength === null) {
      throw new RangeError(`Cannot pack examples: maxLength is required with ${needsLength}, received null`);
    }
  }

  /** Examples; those of rows that were not tokenized before the first use are as many as the rows. */
  get length(): number {
    return this.#plan?.length ?? this.#kept?.length ?? this.#rows.length;
  }

  /** What became of the rows; null for large files of which nothing had to be known. */
  get stats(): SFTDataStats | null {
    return this.#stats;
  }

  /**
   * Tokenizes the rows, once.
   * @throws {TypeError} for a row that cannot be tokenized, naming it @throws {RangeError} where no row has a label
   */
  prepare(): Promise<void> {
    return this.#prepared ??= this.#prepare();
  }

  /** An example. */
  at(index: number): Example | undefined | Promise<Example | undefined> {
    if (!(index >= 0 && index < this.length)) return undefined;
    if (!this.#plan) return this.#example(index);
    const plan = this.#plan;
    const parts = plan.segmentsOf(index).map(({ example }) => this.#example(example));
    if (this.#examples) return plan.assemble(index, parts as Example[]);
    return Promise.all(parts).then((examples) => plan.assemble(index, examples));
  }

  /** Tokens of an example. */
  lengthOf(index: number): number {
    return this.#plan?.lengthOf(index) ?? this.#lengths![index];
  }

  /** An example before packing. */
  #example(index: number): Example | Promise<Example> {
    return this.#examples?.[index] ?? this.#read(this.#kept?.[index] ?? index);
  }

  async #prepare(): Promise<void> {
    const { shuffleDataset, seed, needsLengths, packing, packingStrategy } = this.#options;
    const textBlocks = this.#options.textBlocks && "hasTexts" in this.#rows && this.#rows.hasTexts;
    if ("prepare" in this.#rows) await this.#rows.prepare?.();
    const count = this.#rows.length;
    const first = count > 0 ? this.#rows.at(0) : undefined;
    const isStreamed = first instanceof Promise;
    if (isStreamed) await first;
    const isReadLater = isStreamed && !needsLengths && !packing && !textBlocks;
    if (isReadLater && !shuffleDataset) return;
    const order = Uint32Array.from({ length: count }, (_, i) => i);
    if (shuffleDataset) new HostRandom(seed).shuffle(order);
    this.#kept = order;
    if (isReadLater) return;
    if (!isStreamed) this.#examples = [];
    const counts: Counts = {
      ...{ rows: count, examples: 0, tokens: 0, learnedTokens: 0 },
      ...{ cutRows: 0, cutTokens: 0, droppedRows: 0, firstDropped: null },
    };
    const lengths = new Uint32Array(count);
    const isText = new Uint8Array(count);
    let pause = performance.now() + WORK_MS;
    for (const row of order) {
      if (performance.now() > pause) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        pause = performance.now() + WORK_MS;
      }
      const read = this.#read(row, counts);
      const example = read instanceof Promise ? await read : read;
      const learned = countLabels(example);
      if (learned === 0) {
        counts.droppedRows++;
        counts.firstDropped ??= this.#where(row);
        continue;
      }
      this.#examples?.push(example);
      lengths[counts.examples] = example.inputIds.length;
      isText[counts.examples] = Number(this.#isText);
      order[counts.examples++] = row;
      counts.tokens += example.inputIds.length;
      counts.learnedTokens += learned;
    }
    if (counts.examples === 0) this.#refuseAll(counts);
    this.#kept = order.subarray(0, counts.examples);
    this.#lengths = lengths.subarray(0, counts.examples);
    if (packing || textBlocks) {
      this.#plan = PackPlan.of(this.#lengths, this.#most, {
        strategy: packing ? packingStrategy : null,
        isWrapped: (example) => textBlocks && isText[example] === 1,
      });
    }
    this.#stats = { ...counts, examples: this.length };
  }

  /** A row as an example, cut; what is lost is counted. */
  #read(index: number, counts?: Counts): Example | Promise<Example> {
    const row = this.#rows.at(index);
    if (row instanceof Promise) return row.then((row) => this.#tokenize(index, row, counts));
    return this.#tokenize(index, row, counts);
  }

  #tokenize(index: number, row: Row | Example | undefined, counts?: Counts): Example {
    try {
      const given = this.#language(row);
      this.#isText = "text" in given;
      return this.#cut(this.#examplesOf.of(given), counts);
    } catch (cause) {
      const message = (cause as Error).message.replace(/^Cannot/, "cannot");
      throw new TypeError(`Cannot train on ${this.#where(index)}: ${message}`, { cause });
    }
  }

  #language(row: Row | Example | undefined) {
    if (row && "inputIds" in row) return row;
    const language = row && languageOf(row);
    if (language) return language;
    const received = row ? '"chosen" and "rejected", which preference tuning takes' : "none";
    throw new TypeError(`a text or an answer to learn is required, received ${received}`);
  }

  #cut(example: Example, counts?: Counts): Example {
    const { inputIds, labels = inputIds, attentionMask, sequenceIds } = example;
    const { packing, packingStrategy, truncationMode, textBlocks } = this.#options;
    if (labels.length !== inputIds.length) {
      throw new TypeError(
        `as many labels as ids are required, received ${labels.length} for ${inputIds.length}`,
      );
    }
    if (packing && (sequenceIds || attentionMask?.includes(0))) {
      throw new TypeError("rows without padding, and that are not packed yet, are required with packing");
    }
    const isSplit = packing && packingStrategy !== "bfd" || textBlocks && this.#isText;
    if (inputIds.length <= this.#most || isSplit) return example;
    if (counts) {
      counts.cutRows++;
      counts.cutTokens += inputIds.length - this.#most;
    }
    const isStart = truncationMode === "keep_start" || packing;
    const cut = (row: readonly number[]) => isStart ? row.slice(0, this.#most) : row.slice(-this.#most);
    return {
      inputIds: cut(inputIds),
      labels: cut(labels),
      ...attentionMask && { attentionMask: cut(attentionMask) },
      ...sequenceIds && { sequenceIds: cut(sequenceIds) },
    };
  }

  #where(index: number): string {
    return "where" in this.#rows ? this.#rows.where(index) : `row ${index + 1}`;
  }

  #refuseAll({ rows, droppedRows, cutRows, firstDropped }: Counts): never {
    if (rows === 0) throw new RangeError("Cannot train: at least one row is required, received none");
    throw new RangeError(
      `Cannot train: a row with a label is required, received ${droppedRows} without one, the first ${firstDropped}${
        cutRows > 0 ? `; ${cutRows} were cut at ${this.#most} tokens: raise maxLength` : ""
      }`,
    );
  }
}
