/**
 * Where data comes from, and what is told of it.
 * @module
 */

import type { NamedFile } from "./basics.ts";

/** A question and its answer, as typed; `system` goes before it in a chat model's template. */
export interface Pair {
  readonly question: string;
  readonly answer: string;
}

export type DataSource =
  /** Stories for the built-in model, support answers for a model with a chat template. */
  | { readonly kind: "sample" }
  | { readonly kind: "pairs"; readonly pairs: readonly Pair[]; readonly system?: string }
  /** .jsonl, .json, .csv, .tsv, .txt, .parquet, each also .gz. */
  | { readonly kind: "files"; readonly files: readonly NamedFile[] };

export interface OpenDataOptions {
  readonly source: DataSource;
  /** Longest row in tokens; default: the model's context, at most 1024. */
  readonly length?: number;
  /** Whether prompts are learned too; default false. */
  readonly learnPrompts?: boolean;
  /** Part of the rows that is held out for evaluation, 0 to 0.5; default 0.1, or 0 below 20 rows. The sample data has held-out rows of its own. */
  readonly heldOut?: number;
  /** Leave bad rows out in place of an error; default true, with `DataFacts.badRows`. */
  readonly skipBadRows?: boolean;
}

export interface DataFacts {
  readonly name: string;
  /** Such as `Chats (messages)`, `Questions and answers (prompt, completion)`, `Texts`. */
  readonly format: string;
  /** Whether texts are learned, or answers. */
  readonly form: "text" | "chat";
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly fileFormat: string }[];
  /** Rows that are read. */
  readonly rows: number;
  /** Examples to train on and held out. Texts are cut into blocks, so this may differ from rows. */
  readonly trainExamples: number;
  readonly heldOutExamples: number;
  readonly badRows: readonly BadRow[];
  /** All bad rows, of which `badRows` has the first 50. */
  readonly badRowCount: number;
  readonly tokens: {
    readonly total: number;
    /** Those that the model learns to say. */
    readonly learned: number;
    readonly shortest: number;
    readonly median: number;
    readonly longest: number;
    /** Examples with from <= tokens < to. */
    readonly histogram: readonly { readonly from: number; readonly to: number; readonly count: number }[];
  };
  /** Examples that were cut at `length`, and rows left out because nothing of them is learned. */
  readonly cutExamples: number;
  readonly droppedRows: number;
  readonly length: number;
  readonly example: MaskedExample;
}

export interface BadRow {
  readonly file: string;
  /** From 1; null where the file has no lines (Parquet). */
  readonly line: number | null;
  readonly problem: string;
}

export interface MaskedExample {
  /** Of the examples to train on, from 0. */
  readonly index: number;
  readonly tokens: readonly { readonly text: string; readonly trained: boolean }[];
}
