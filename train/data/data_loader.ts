/**
 * Examples as batches, in an order that seed and epoch alone determine.
 * @module
 */

import { defaultSeed, HostRandom } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import { kindOf } from "../../options/kinds.ts";
import type { Dataset, Example } from "./example.ts";

/**
 * Rows of equal length.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { Batch } from "@peft/webgpu/train";
 *
 * const batch: Batch = { inputIds: [[5, 6, 7], [8, 9, 0]], labels: [[5, 6, 7], [8, 9, -100]], attentionMask: [[1, 1, 1], [1, 1, 0]] };
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * console.log(await model.forward(batch).loss!.item()); // mean over the three tokens that others come before
 * ```
 */
export interface Batch {
  /** [B, T] token ids. */
  inputIds: number[][];
  /** [B, T]: the tokens to predict, -100 for none. */
  labels: number[][];
  /** [B, T]: 1 for tokens, 0 for padding; left out where there is no padding. */
  attentionMask?: number[][];
  /** [B, T]: the document of each token; left out where each row is one. */
  sequenceIds?: number[][];
}

/** Labels of a batch that count: all but -100 and the first of each row, which no token predicts. */
export function countItems({ labels }: Batch): number {
  let count = 0;
  for (const row of labels) for (let t = 1; t < row.length; t++) if (row[t] !== -100) count++;
  return count;
}

/** Tokens of a batch without padding. */
export function countTokens({ inputIds, attentionMask }: Batch): number {
  const rows = attentionMask ?? inputIds;
  return rows.reduce(
    (sum, row) => sum + (attentionMask ? row.reduce((n, value) => n + (value === 0 ? 0 : 1), 0) : row.length),
    0,
  );
}

/**
 * Makes a batch of examples.
 *
 * @example
 * ```ts
 * import { DataLoader, defaultDataCollator } from "@peft/webgpu";
 * import type { DataCollator } from "@peft/webgpu/train";
 *
 * // cuts rows before they become a batch
 * const shortened = (length: number): DataCollator => (examples) =>
 *   defaultDataCollator()(examples.map(({ inputIds, labels = inputIds }) => ({
 *     inputIds: inputIds.slice(0, length),
 *     labels: labels.slice(0, length),
 *   })));
 * const [batch] = new DataLoader([{ inputIds: [1, 2, 3, 4] }], { batchSize: 1, collate: shortened(2) });
 * console.log(batch.inputIds); // [ [ 1, 2 ] ]
 * ```
 */
export type DataCollator = (examples: readonly Example[]) => Batch;

const padTo = (row: readonly number[], length: number, value: number) =>
  row.length === length ? [...row] : [...row, ...new Array<number>(length - row.length).fill(value)];

/**
 * Pads to the longest row (or a multiple of `padToMultipleOf`) on the right: ids with `padTokenId`, labels with -100, the mask with 0. Padding
 * of packed rows is a document of its own.
 *
 * @example
 * ```ts
 * import { defaultDataCollator } from "@peft/webgpu";
 *
 * const collate = defaultDataCollator(0);
 * const { inputIds, labels, attentionMask } = collate([{ inputIds: [5, 6, 7] }, { inputIds: [8] }]);
 * console.log(inputIds, labels, attentionMask); // [[5, 6, 7], [8, 0, 0]], [[5, 6, 7], [8, -100, -100]], …
 * ```
 * @throws {TypeError} if labels or mask of an example are not as long as its ids, or it has none, and for what is no example
 */
export function defaultDataCollator(padTokenId = 0, padToMultipleOf = 1): DataCollator {
  return (examples) => {
    const other = examples.find((example) => example?.inputIds?.length === undefined);
    if (other !== undefined) {
      throw new TypeError(
        `Cannot make a batch: examples with inputIds are required, received ${
          kindOf(other)
        }; make them of texts with TextDataset.fromTexts(), of rows with SFTTrainer`,
      );
    }
    const longest = Math.max(...examples.map(({ inputIds }) => inputIds.length));
    const length = Math.ceil(longest / padToMultipleOf) * padToMultipleOf;
    let padded = false;
    const packed = examples.some(({ sequenceIds }) => sequenceIds !== undefined);
    const rows = examples.map(({ inputIds, labels = inputIds, attentionMask, sequenceIds }) => {
      const documents = sequenceIds ?? inputIds.map(() => 0);
      const lengths = [labels, attentionMask ?? inputIds, documents].map((row) => row.length);
      if (inputIds.length === 0 || lengths.some((other) => other !== inputIds.length)) {
        throw new TypeError(
          `Cannot make a batch: labels, attentionMask and sequenceIds as long as inputIds are required, received ${lengths} for ${inputIds.length} ids`,
        );
      }
      const mask = attentionMask ?? inputIds.map(() => 1);
      padded ||= inputIds.length < length || mask.includes(0);
      return {
        inputIds: padTo(inputIds, length, padTokenId),
        labels: padTo(labels, length, -100),
        mask: padTo(mask, length, 0),
        documents: padTo(documents, length, documents.at(-1)! + 1),
      };
    });
    return {
      inputIds: rows.map((row) => row.inputIds),
      labels: rows.map((row) => row.labels),
      ...padded ? { attentionMask: rows.map((row) => row.mask) } : {},
      ...packed ? { sequenceIds: rows.map((row) => row.documents) } : {},
    };
  };
}

/**
 * Options of `DataLoader`.
 *
 * @example
 * ```ts
 * import { DataLoader } from "@peft/webgpu";
 * import type { DataLoaderOptions } from "@peft/webgpu/train";
 *
 * const options: DataLoaderOptions = { batchSize: 4, groupByLength: true, dropLast: true, seed: 3 };
 * const examples = Array.from({ length: 70 }, (_, i) => ({ inputIds: new Array<number>(1 + i % 8).fill(7) }));
 * const batches = [...new DataLoader(examples, options)];
 * console.log(batches.length); // 17: two examples are left over
 * ```
 */
export interface DataLoaderOptions {
  /** Examples per batch. */
  batchSize: number;
  /** A new order each epoch; default false. */
  shuffle?: boolean;
  /** Seed of the orders; default 0. */
  seed?: number;
  /** Leave out the last batch if it is not full; default false. */
  dropLast?: boolean;
  /** Examples of about the same length in one batch, in a new order each epoch: less padding. Default false. */
  groupByLength?: boolean;
  /** Default: `defaultDataCollator()`. */
  collate?: DataCollator;
}

/** Batches that are sorted by length together, at most (`get_length_grouped_indices` of `transformers`). */
const SORTED_BATCHES = 50;

/**
 * Puts an order into runs of a few batches and sorts each by length, the longest first; the longest example of all comes
 * first, so that memory that does not suffice shows at once.
 */
function groupByLength(order: Uint32Array, lengthOf: (index: number) => number, batchSize: number): void {
  const batches = Math.max(1, Math.min(Math.floor(order.length / (4 * batchSize)), SORTED_BATCHES));
  let longest = 0;
  for (let at = 0; at < order.length; at += batches * batchSize) {
    order.subarray(at, at + batches * batchSize).sort((a, b) => lengthOf(b) - lengthOf(a));
    if (lengthOf(order[at]) > lengthOf(order[longest])) longest = at;
  }
  [order[0], order[longest]] = [order[longest], order[0]];
}

/** Tokens of an example. @throws {TypeError} where the dataset cannot tell without reading it */
function lengthIn(dataset: Dataset, index: number): number {
  if (dataset.lengthOf) return dataset.lengthOf(index);
  const example = dataset.at(index);
  if (example && !(example instanceof Promise)) return example.inputIds.length;
  throw new TypeError(
    "Cannot group examples by length: a dataset with lengthOf() is required where examples are read later, received none",
  );
}

/**
 * Batches of a dataset. Each iteration is one epoch, with an order of its own where the loader shuffles.
 *
 * @example
 * ```ts
 * import { DataLoader, type Dataset } from "@peft/webgpu";
 *
 * declare const dataset: Dataset;
 * const loader = new DataLoader(dataset, { batchSize: 4, shuffle: true, seed: 1 });
 * for (const { inputIds, labels } of loader) console.log(inputIds.length, labels.length);
 * ```
 */
export class DataLoader implements Iterable<Batch> {
  /** The examples. */
  readonly dataset: Dataset;
  readonly #options: Required<DataLoaderOptions>;
  #epoch = 0;

  /** Reads nothing yet. @throws {RangeError} for an empty dataset, a batchSize below 1, or nothing left by dropLast */
  constructor(dataset: Dataset, options: DataLoaderOptions) {
    checkOptions("make batches", options, [
      "batchSize",
      "shuffle",
      "seed",
      "dropLast",
      "groupByLength",
      "collate",
    ]);
    const {
      batchSize,
      shuffle = false,
      seed = defaultSeed(),
      dropLast = false,
      groupByLength = false,
      collate = defaultDataCollator(),
    } = options;
    this.dataset = dataset;
    this.#options = { batchSize, shuffle, seed, dropLast, groupByLength, collate };
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new RangeError(
        `Cannot make batches: batchSize must be an integer of at least 1, received ${batchSize}`,
      );
    }
    if (dataset.length === 0) {
      throw new RangeError(
        "Cannot make batches: a dataset of at least one example is required, received none",
      );
    }
    if (this.length === 0) {
      throw new RangeError(
        `Cannot make batches: at least ${batchSize} examples are required with dropLast, received ${dataset.length}`,
      );
    }
  }

  /** Batches per epoch. */
  get length(): number {
    const { batchSize, dropLast } = this.#options;
    const count = this.dataset.length / batchSize;
    return dropLast ? Math.floor(count) : Math.ceil(count);
  }

  /** The batches of the next epoch. */
  [Symbol.iterator](): Generator<Batch> {
    return this.batches(this.#epoch++);
  }

  /** Numbers of the examples in the order of an epoch. */
  order(epoch: number): number[] {
    return Array.from(this.#order(epoch));
  }

  #order(epoch: number): Uint32Array {
    const { dataset } = this;
    const { shuffle, seed, groupByLength: grouped, batchSize } = this.#options;
    const order = Uint32Array.from({ length: dataset.length }, (_, i) => i);
    if (shuffle || grouped) {
      new HostRandom(seed % 2 ** 32 + (epoch % 2 ** 20) * 2 ** 32).shuffle(order);
    }
    if (grouped) groupByLength(order, (index) => lengthIn(dataset, index), batchSize);
    return order;
  }

  /**
   * The batches of an epoch from number `first` on.
   * @throws {TypeError} for a dataset that reads its examples later: `readBatches` waits for them
   */
  *batches(epoch: number, first = 0): Generator<Batch> {
    const order = this.#order(epoch);
    for (let i = first; i < this.length; i++) {
      const examples = this.#examples(order, i);
      if (examples.some((example) => example instanceof Promise)) {
        throw new TypeError(
          "Cannot make batches: a dataset that has its examples in memory is required, received one that reads them; use readBatches()",
        );
      }
      yield this.#collate(order, i, examples as (Example | undefined)[]);
    }
  }

  /** The same for every dataset: while a batch is used, the examples of the next are read. */
  async *readBatches(epoch: number, first = 0): AsyncGenerator<Batch> {
    const order = this.#order(epoch);
    const read = async (i: number) => this.#collate(order, i, await Promise.all(this.#examples(order, i)));
    let next = first < this.length ? read(first) : null;
    for (let i = first; next; i++) {
      const batch = await next;
      next = i + 1 < this.length ? read(i + 1) : null;
      next?.catch(() => {}); // it is thrown when its turn comes
      yield batch;
    }
  }

  #places(order: Uint32Array, i: number): Uint32Array {
    const { batchSize } = this.#options;
    return order.subarray(i * batchSize, (i + 1) * batchSize);
  }

  #examples(order: Uint32Array, i: number) {
    return Array.from(this.#places(order, i), (index) => this.dataset.at(index));
  }

  #collate(order: Uint32Array, i: number, examples: readonly (Example | undefined)[]): Batch {
    const missing = examples.indexOf(undefined);
    if (missing < 0) return this.#options.collate(examples as readonly Example[]);
    const index = this.#places(order, i)[missing];
    throw new TypeError(
      `Cannot make batches: the dataset must have an example at ${index} of ${this.dataset.length}, received none`,
    );
  }
}
