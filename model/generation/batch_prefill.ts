/**
 * Prompts of a continuous batch: several are computed side by side, each from where it differs from what is known.
 * @module
 */

import { type Tensor, tidy } from "../../autograd/mod.ts";
import type { BindRows, BoundRows } from "./batched_request.ts";
import type { Row } from "./batch_tokens.ts";
import type { GenerativeModel } from "./decode.ts";
import { KVCache } from "./kv_cache.ts";
import type { KnownStart, PromptCache } from "./prompt_cache.ts";
import { positionsOf } from "./prompts.ts";

/** Prompts that were computed. */
export interface ComputedPrompts {
  /** Tokens that were computed, padding included. */
  readonly count: number;
  /** The rows that are complete, in the order of the cache's rows, and logits [rows, V] of their last tokens. */
  readonly complete: readonly Row[];
  readonly logits: Tensor;
  /** Holds each row's tokens, which end at its `length`. */
  readonly cache: KVCache;
}

/** A row and what is known of its prompt. */
interface Start {
  readonly row: Row;
  readonly known: KnownStart;
}

/**
 * Computes the prompts that come first, as many as go side by side within `most` tokens; of one that is longer, a part.
 * @param rows those whose prompts are not complete, at least one   @param bind binds rows to adapters
 */
export function computePrompts(
  model: GenerativeModel,
  rows: readonly Row[],
  most: number,
  prompts: PromptCache,
  bind: BindRows,
): ComputedPrompts {
  const [first] = rows;
  const known = (row: Row) => prompts.find(row.request.adapter, row.request.prompt);
  const start: Start = { row: first, known: known(first) };
  const group = [start];
  let longest = lengthOf(start);
  if (first.cache || longest > most) return computePart(model, start, most, bind);
  for (const row of rows.slice(1)) {
    const next = { row, known: known(row) };
    longest = Math.max(longest, lengthOf(next));
    if ((group.length + 1) * longest > most) break;
    group.push(next);
  }
  return computeWhole(model, group, bind);
}

/** Tokens of a prompt that are not known. */
function lengthOf({ row, known }: Start): number {
  return row.request.prompt.length - known.length;
}

/** A prompt, or the next part of it. */
function computePart(
  model: GenerativeModel,
  { row, known }: Start,
  most: number,
  bind: BindRows,
): ComputedPrompts {
  const { prompt, adapter } = row.request;
  if (!row.cache) {
    row.cache = new KVCache(model, model.device, 1, prompt.length);
    take(row.cache, 0, known, { from: 0, count: known.length, to: 0 });
    row.cache.length = known.length;
  }
  const { cache } = row;
  const inputIds = [prompt.slice(cache.length, cache.length + most)];
  const logits = runBound(bind([adapter]), () => model.lastLogits({ inputIds, pastKeyValues: cache }));
  const complete = cache.length === prompt.length ? [row] : [];
  return { count: inputIds[0].length, complete, logits, cache };
}

/**
 * Whole prompts, which end at the same column. Each computes as many tokens as the one of which least is known, so that no
 * padding lies within a row.
 */
function computeWhole(
  model: GenerativeModel,
  group: readonly Start[],
  bind: BindRows,
): ComputedPrompts {
  const width = Math.max(...group.map(lengthOf));
  const starts = group.map(({ row }) => Math.max(0, row.request.prompt.length - width));
  const past = Math.max(...starts);
  const prompts = group.map(({ row }) => row.request.prompt);
  const cache = new KVCache(model, model.device, group.length, past + width);
  group.forEach(({ known }, i) => take(cache, i, known, { from: 0, count: starts[i], to: past - starts[i] }));
  cache.length = past;
  const mask = prompts.map(({ length }) =>
    Array.from({ length: past + width }, (_, column) => Number(column >= past + width - length))
  );
  const isPadded = mask.some((row) => row[0] === 0);
  const inputs = {
    inputIds: prompts.map((prompt, i) => [
      ...new Array<number>(width - (prompt.length - starts[i])).fill(0),
      ...prompt.slice(starts[i]),
    ]),
    ...isPadded ? { attentionMask: mask, positionIds: positionsOf(mask).map((row) => row.slice(past)) } : {},
    pastKeyValues: cache,
  };
  try {
    const bound = bind(group.map(({ row }) => row.request.adapter));
    const logits = runBound(bound, () => model.lastLogits(inputs));
    return { count: group.length * width, complete: group.map(({ row }) => row), logits, cache };
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

/** Copies known tokens into a row. */
function take(
  cache: KVCache,
  row: number,
  known: KnownStart,
  { from, count, to }: { from: number; count: number; to: number },
): void {
  if (known.cache && count > 0) {
    cache.copyTokens(known.cache, { row: 0, first: from, count }, { row, first: to });
  }
}

function runBound(bound: BoundRows, forward: () => Tensor): Tensor {
  try {
    return bound.run(() => tidy(forward));
  } finally {
    bound.dispose();
  }
}
