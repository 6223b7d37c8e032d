/**
 * Which tokens of which examples share a row, by the lengths of examples alone: the examples themselves may be read later.
 * @module
 */

import type { Example } from "./example.ts";
import { fillRows } from "./pack.ts";

/**
 * How examples are packed, by TRL's names. "bfd": best-fit decreasing, what is longer than a row is cut. "bfd_split": the
 * same, but what is longer goes on in other rows. "wrapped": all examples one after another, cut where a row is full, and
 * each sees those before it in its row.
 *
 * @example
 * ```ts
 * import { AutoTokenizer, RowDataset, SFTConfig } from "@peft/webgpu";
 * import { type PackingStrategy, SFTDataset } from "@peft/webgpu/train";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const rows = RowDataset.from([{ text: "Once upon a time there was a dog. It lived near the sea." }, { text: "Ahoy!" }]);
 * for (const packingStrategy of ["bfd", "bfd_split"] satisfies PackingStrategy[]) {
 *   const config = new SFTConfig({ packing: true, packingStrategy, maxLength: 8 });
 *   const dataset = new SFTDataset(rows, tokenizer, { ...config, maxPositions: 128, needsLengths: false });
 *   await dataset.prepare();
 *   console.log(Array.from({ length: dataset.length }, (_, i) => dataset.lengthOf(i))); // [8, 3], the rest is lost; [8, 8, 3]
 * }
 * ```
 */
export type PackingStrategy = "bfd" | "bfd_split" | "wrapped";

/** Tokens `from` up to `to` of an example. */
export interface Segment {
  readonly example: number;
  readonly from: number;
  readonly to: number;
}

/** What `PackPlan.of` is told of examples. */
export interface PackOptions {
  /** How examples are packed; null: each stays a row. */
  readonly strategy: PackingStrategy | null;
  /** Whether an example is packed by "wrapped" whatever the strategy. */
  readonly isWrapped?: (example: number) => boolean;
}

/** Rows of segments. */
export class PackPlan {
  /** Rows. */
  readonly length: number;
  /** Rows at the beginning whose segments see those before them. */
  readonly #wrapped: number;
  readonly #starts: Uint32Array;
  /** Three numbers a segment. */
  readonly #segments: Uint32Array;

  private constructor(rows: readonly (readonly Segment[])[], wrapped: number) {
    this.length = rows.length;
    this.#wrapped = wrapped;
    this.#starts = new Uint32Array(rows.length + 1);
    rows.forEach((row, i) => this.#starts[i + 1] = this.#starts[i] + row.length);
    this.#segments = new Uint32Array(3 * this.#starts[rows.length]);
    let at = 0;
    for (const row of rows) {
      for (const { example, from, to } of row) {
        this.#segments.set([example, from, to], at);
        at += 3;
      }
    }
  }

  /** Packs examples of these lengths into rows of `size` tokens; wrapped rows come first. */
  static of(lengths: ArrayLike<number>, size: number, { strategy, isWrapped }: PackOptions): PackPlan {
    const wrapped: Segment[] = [];
    const pieces: Segment[] = [];
    for (let example = 0; example < lengths.length; example++) {
      const length = lengths[example];
      if (strategy === "wrapped" || isWrapped?.(example)) {
        wrapped.push({ example, from: 0, to: length });
        continue;
      }
      const end = strategy === "bfd" ? Math.min(length, size) : length;
      const step = strategy === null ? length : size;
      for (let from = 0; from < end; from += step) {
        pieces.push({ example, from, to: Math.min(end, from + step) });
      }
    }
    const blocks = wrap(wrapped, size);
    const others = strategy === null
      ? pieces.map((piece) => [piece])
      : fillRows(pieces.map(({ from, to }) => to - from), size)
        .map(({ members }) => members.map((i) => pieces[i]));
    return new PackPlan([...blocks, ...others], blocks.length);
  }

  /** Segments of a row. */
  segmentsOf(row: number): Segment[] {
    const segments: Segment[] = [];
    for (let at = 3 * this.#starts[row]; at < 3 * this.#starts[row + 1]; at += 3) {
      const [example, from, to] = this.#segments.subarray(at, at + 3);
      segments.push({ example, from, to });
    }
    return segments;
  }

  /** Tokens of a row. */
  lengthOf(row: number): number {
    return this.segmentsOf(row).reduce((sum, { from, to }) => sum + to - from, 0);
  }

  /** A row of the examples of its segments. */
  assemble(row: number, examples: readonly Example[]): Example {
    const parts = this.segmentsOf(row).map(({ from, to }, n) => {
      const { inputIds, labels = inputIds } = examples[n];
      return { inputIds: inputIds.slice(from, to), labels: labels.slice(from, to) };
    });
    const inputIds = parts.flatMap((part) => part.inputIds);
    if (row < this.#wrapped || parts.length === 1) {
      return { inputIds, labels: parts.flatMap(({ labels }) => labels) };
    }
    return {
      inputIds,
      labels: parts.flatMap(({ labels }) => [-100, ...labels.slice(1)]),
      sequenceIds: parts.flatMap((part, n) => part.inputIds.map(() => n)),
    };
  }
}

/** Segments one after another in full rows; the last may be shorter. */
function wrap(segments: readonly Segment[], size: number): Segment[][] {
  const rows: Segment[][] = [];
  let room = 0;
  for (const { example, to: end } of segments) {
    for (let from = 0; from < end;) {
      if (room === 0) {
        rows.push([]);
        room = size;
      }
      const to = Math.min(end, from + room);
      rows.at(-1)!.push({ example, from, to });
      room -= to - from;
      from = to;
    }
  }
  return rows;
}
