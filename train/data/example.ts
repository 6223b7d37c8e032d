/**
 * What a model trains on.
 * @module
 */

/**
 * What a model trains on: one row of a batch.
 *
 * @example
 * ```ts
 * import { defaultDataCollator } from "@peft/webgpu";
 * import type { Example } from "@peft/webgpu/train";
 *
 * const question = [5, 6, 7], answer = [8, 9]; // the answer alone is learned
 * const example: Example = { inputIds: [...question, ...answer], labels: [-100, -100, -100, ...answer] };
 * console.log(defaultDataCollator()([example]).labels); // [[-100, -100, -100, 8, 9]]
 * ```
 */
export interface Example {
  /** Token ids. */
  readonly inputIds: readonly number[];
  /** The tokens to predict, -100 for none; default `inputIds`. */
  readonly labels?: readonly number[];
  /** 1 for tokens, 0 for padding; default all tokens. */
  readonly attentionMask?: readonly number[];
  /** The document of each token, where several lie in the row: they do not see each other. Default one document. */
  readonly sequenceIds?: readonly number[];
}

/**
 * Examples in memory, by number; an array of examples is one.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, packExamples } from "@peft/webgpu";
 * import type { ExampleList } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const texts = ["Ahoy, matey!", "The sea be calm.", "Arr!"];
 * const examples: ExampleList = { length: texts.length, at: (i) => ({ inputIds: tokenizer.encode(texts[i]) }) };
 * console.log(packExamples(examples, 64).length); // 1
 * ```
 */
export interface ExampleList {
  /** How many there are. */
  readonly length: number;
  /** One of them. */
  at(index: number): Example | undefined;
}

/**
 * Examples by number, wherever they are; an array of examples is one.
 *
 * @example
 * ```ts
 * import { DataLoader, type Dataset } from "@peft/webgpu";
 *
 * // numbers to count up from: made when they are asked for, and never all in memory
 * const counting: Dataset = {
 *   length: 1000,
 *   at: (index) => ({ inputIds: Array.from({ length: 8 }, (_, i) => index + i) }),
 *   lengthOf: () => 8,
 * };
 * const [batch] = new DataLoader(counting, { batchSize: 2 });
 * console.log(batch.inputIds); // [[0, 1, …, 7], [1, 2, …, 8]]
 * ```
 */
export interface Dataset {
  /** How many there are; where it has `prepare`, known after that. */
  readonly length: number;
  /** One of them: at once, or later where it is read from a file. */
  at(index: number): Example | undefined | Promise<Example | undefined>;
  /** Reads or tokenizes what must be known before the first example; the Trainer calls it before each use. */
  prepare?(): Promise<unknown>;
  /** Tokens of one of them, where they are known without it; used to group examples by length. */
  lengthOf?(index: number): number;
}

/**
 * The part of a tokenizer that is needed here.
 *
 * @example
 * ```ts
 * import { TextDataset } from "@peft/webgpu";
 * import type { TextTokenizer } from "@peft/webgpu/train";
 *
 * const bytes: TextTokenizer = { encode: (text) => [...new TextEncoder().encode(text)], eosTokenId: 0 };
 * const dataset = TextDataset.fromTexts(["Ahoy", "Arr"], bytes, { blockSize: 8 });
 * console.log(dataset.at(0)!.inputIds); // [65, 104, 111, 121, 0, 65, 114, 114]
 * ```
 */
export interface TextTokenizer {
  /** Token ids of a text. */
  encode(text: string): number[];
  /** End of a text; null for none. */
  readonly eosTokenId: number | null;
}
