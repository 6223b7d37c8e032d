/**
 * Several sources of rows as one, each with its weight.
 * @module
 */

import { HostRandom } from "../../autograd/mod.ts";

/**
 * When a mixture ends: with the first source that is used up, or when each was used up once (others begin again).
 *
 * @example
 * ```ts
 * import { loadDataset } from "@peft/webgpu";
 * import type { StoppingStrategy } from "@peft/webgpu/train";
 *
 * const inputs = ["examples/demo/data/pirate.jsonl", new Blob(['{"text":"Arr!"}'])];
 * for (const stoppingStrategy of ["first_exhausted", "all_exhausted"] satisfies StoppingStrategy[]) {
 *   const rows = await loadDataset(inputs, { format: "jsonl", weights: [1, 1], stoppingStrategy });
 *   console.log(stoppingStrategy, rows.length); // few rows, until the short file ends; hundreds, until the long one does
 * }
 * ```
 */
export type StoppingStrategy = "first_exhausted" | "all_exhausted";

/**
 * Numbers of rows, each drawn from a source by its weight, the sources' rows in their order (`interleave_datasets` of
 * `datasets`).
 * @param lengths rows of each source; the rows of all are numbered one after another
 */
export function mixRows(
  lengths: readonly number[],
  weights: readonly number[],
  seed: number,
  stopping: StoppingStrategy,
): Uint32Array {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let end = 0;
  const starts = lengths.map((length) => (end += length) - length);
  const used = lengths.map(() => 0);
  const done = lengths.map((_, i) => weights[i] === 0);
  const random = new HostRandom(seed);
  const numbers: number[] = [];
  const last = weights.findLastIndex((weight) => weight > 0); // where rounding leaves none
  const draw = () => {
    let left = random.uniform() * total;
    const drawn = weights.findIndex((weight) => (left -= weight) < 0);
    return drawn < 0 ? last : drawn;
  };
  for (;;) {
    const source = draw();
    numbers.push(starts[source] + used[source] % lengths[source]);
    used[source]++;
    if (used[source] < lengths[source]) continue;
    done[source] = true;
    if (stopping === "first_exhausted" || done.every(Boolean)) return Uint32Array.from(numbers);
  }
}
