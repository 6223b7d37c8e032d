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
 */
export type PackingStrategy = "bfd" | "bfd_split" | "wrapped";

/** Tokens `from` up to `to` of an example. */
export interface Segment {
  readonly example: number;
  readonly from: number;
  readonly to: number;
}

/** Rows of segments. */
export class PackPlan {
  /** Rows. */
  readonly length: number;
  /** Whether segments of a row do not see each other. */
  readonly isApart: boolean;
  readonly #starts: Uint32Array;
  /** Three numbers a segment. */
  readonly #segments: Uint32Array;

  private constructor(rows: readonly (readonly Segment[])[], isApart: boolean) {
    this.length = rows.length;
    this.isApart = isApart;
    this.#starts = new Uint32Array(rows.length + 1);
    rows.forEach((row, i) => this.#starts[i + 1] = this.#starts[i] + row.length);
    this.#segments = new Uint32Array(3 * this.#starts[rows.length]);
    let at = 0;
    for (const { example, from, to } of rows.flat()) {
      this.#segments.set([example, from, to], at);
      at += 3;
    }
  }

  /** Packs examples of these lengths into rows of `size` tokens. */
  static of(lengths: ArrayLike<number>, size: number, strategy: PackingStrategy): PackPlan {
    if (strategy === "wrapped") return new PackPlan(wrap(lengths, size), false);
    const pieces: Segment[] = [];
    for (let example = 0; example < lengths.length; example++) {
      const end = strategy === "bfd" ? Math.min(lengths[example], size) : lengths[example];
      for (let from = 0; from < end; from += size) {
        pieces.push({ example, from, to: Math.min(end, from + size) });
      }
    }
    const bins = fillRows(pieces.map(({ from, to }) => to - from), size);
    return new PackPlan(bins.map(({ members }) => members.map((i) => pieces[i])), true);
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
    if (!this.isApart) return { inputIds, labels: parts.flatMap(({ labels }) => labels) };
    return {
      inputIds,
      labels: parts.flatMap(({ labels }) => [-100, ...labels.slice(1)]),
      sequenceIds: parts.flatMap((part, n) => part.inputIds.map(() => n)),
    };
  }
}

/** Examples one after another in full rows; the last may be shorter. */
function wrap(lengths: ArrayLike<number>, size: number): Segment[][] {
  const rows: Segment[][] = [];
  let room = 0;
  for (let example = 0; example < lengths.length; example++) {
    for (let from = 0; from < lengths[example];) {
      if (room === 0) {
        rows.push([]);
        room = size;
      }
      const to = Math.min(lengths[example], from + room);
      rows.at(-1)!.push({ example, from, to });
      room -= to - from;
      from = to;
    }
  }
  return rows;
}
