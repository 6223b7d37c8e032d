/**
 * What a model trains on.
 * @module
 */

/** What a model trains on: one row of a batch. */
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

/** Examples in memory, by number; an array of examples is one. */
export interface ExampleList {
  /** How many there are. */
  readonly length: number;
  /** One of them. */
  at(index: number): Example | undefined;
}

/** Examples by number, wherever they are; an array of examples is one. */
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

/** The part of a tokenizer that is needed here. */
export interface TextTokenizer {
  /** Token ids of a text. */
  encode(text: string): number[];
  /** End of a text; null for none. */
  readonly eosTokenId: number | null;
}
