/**
 * Several short examples in one row, so that batches need little padding: each sees itself alone (`sequenceIds`).
 * @module
 */

import type { Example, ExampleList } from "./example.ts";

/** A row under way: its examples, and the tokens that still fit. */
interface Bin {
  readonly members: number[];
  room: number;
}

/** Lengths into bins of `size`: the longest first, each into the fullest bin that it fits (best-fit decreasing). */
export function fillRows(lengths: readonly number[], size: number): Bin[] {
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b] - lengths[a] || a - b);
  const bins: Bin[] = [];
  const byRoom = Array.from({ length: size + 1 }, (): Bin[] => []);
  for (const i of order) {
    let room = lengths[i];
    while (room <= size && byRoom[room].length === 0) room++;
    let bin = byRoom[room]?.pop();
    if (!bin) bins.push(bin = { members: [], room: size });
    bin.members.push(i);
    bin.room -= lengths[i];
    byRoom[bin.room].push(bin);
  }
  return bins;
}

/**
 * Packs examples into rows of at most `blockSize` tokens. In a row, examples do not see each other, positions begin anew
 * with each, and the first token of each is not predicted: training on it equals training on the examples by themselves.
 * Models of this library know such rows by their `sequenceIds`. The same examples give the same rows.
 * @throws {RangeError} for an example that is longer, or has no token
 * @throws {TypeError} for examples with padding or packed already
 *
 * @example
 * ```ts
 * import { packExamples } from "@peft/webgpu";
 *
 * const rows = packExamples([{ inputIds: [1, 2] }, { inputIds: [3, 4, 5] }], 8);
 * console.log(rows.length); // 1
 * ```
 */
export function packExamples(examples: ExampleList, blockSize: number): Example[] {
  const all = Array.from({ length: examples.length }, (_, i) => examples.at(i)!);
  all.forEach(({ inputIds, attentionMask, sequenceIds }, i) => {
    const { length } = inputIds;
    if (length < 1 || length > blockSize) {
      throw new RangeError(
        `Cannot pack examples: 1 to ${blockSize} tokens are required, received ${length} in example ${i}`,
      );
    }
    if (attentionMask?.includes(0) || sequenceIds) {
      const what = sequenceIds ? "a packed one" : "padding";
      throw new TypeError(
        `Cannot pack examples: examples without padding are required, received ${what} in ${i}`,
      );
    }
  });
  return fillRows(all.map(({ inputIds }) => inputIds.length), blockSize).map(({ members }) => {
    const parts = members.map((i) => all[i]);
    return {
      inputIds: parts.flatMap(({ inputIds }) => inputIds),
      labels: parts.flatMap(({ inputIds, labels = inputIds }) => [-100, ...labels.slice(1)]),
      sequenceIds: parts.flatMap(({ inputIds }, n) => inputIds.map(() => n)),
    };
  });
}
