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

/** Examples by number; an array of examples is one. */
export interface Dataset {
  /** How many there are. */
  readonly length: number;
  /** One of them. */
  at(index: number): Example | undefined;
}

/** The part of a tokenizer that is needed here. */
export interface TextTokenizer {
  /** Token ids of a text. */
  encode(text: string): number[];
  /** End of a text; null for none. */
  readonly eosTokenId: number | null;
}
