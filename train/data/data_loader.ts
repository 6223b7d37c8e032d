/**
 * Examples as batches, in an order that seed and epoch alone determine.
 * @module
 */

import { defaultSeed, HostRandom } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import type { Dataset, Example } from "./example.ts";

/** Rows of equal length. */
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

/** Makes a batch of examples. */
export type DataCollator = (examples: readonly Example[]) => Batch;

const padTo = (row: readonly number[], length: number, value: number) =>
  row.length === length ? [...row] : [...row, ...new Array<number>(length - row.length).fill(value)];

/**
 * Pads to the longest row on the right: ids with `padTokenId`, labels with -100, the mask with 0. Padding
 * of packed rows is a document of its own.
 * @throws {TypeError} if labels or mask of an example are not as long as its ids, or it has none
 */
export function defaultDataCollator(padTokenId = 0): DataCollator {
  return (examples) => {
    const length = Math.max(...examples.map(({ inputIds }) => inputIds.length));
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

/** Options of `DataLoader`. */
export interface DataLoaderOptions {
  /** Examples per batch. */
  batchSize: number;
  /** A new order each epoch; default false. */
  shuffle?: boolean;
  /** Seed of the orders; default 0. */
  seed?: number;
  /** Leave out the last batch if it is not full; default false. */
  dropLast?: boolean;
  /** Default: `defaultDataCollator()`. */
  collate?: DataCollator;
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
    checkOptions("make batches", options, ["batchSize", "shuffle", "seed", "dropLast", "collate"]);
    const {
      batchSize,
      shuffle = false,
      seed = defaultSeed(),
      dropLast = false,
      collate = defaultDataCollator(),
    } = options;
    this.dataset = dataset;
    this.#options = { batchSize, shuffle, seed, dropLast, collate };
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
    const { length } = this.dataset;
    const { shuffle, seed } = this.#options;
    if (!shuffle) return Array.from({ length }, (_, i) => i);
    return new HostRandom(seed % 2 ** 32 + (epoch % 2 ** 20) * 2 ** 32).permutation(length);
  }

  /** The batches of an epoch from number `first` on. */
  *batches(epoch: number, first = 0): Generator<Batch> {
    const { batchSize, collate } = this.#options;
    const order = this.order(epoch);
    for (let i = first; i < this.length; i++) {
      const examples = order.slice(i * batchSize, (i + 1) * batchSize).map((index) => {
        const example = this.dataset.at(index);
        if (example) return example;
        throw new TypeError(
          `Cannot make batches: the dataset must have an example at ${index} of ${this.dataset.length}, received none`,
        );
      });
      yield collate(examples);
    }
  }
}
