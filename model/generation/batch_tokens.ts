/**
 * Tokens of a continuous batch: chosen row by row on the device, read back together, and given to their requests.
 * @module
 */

import { type Device, empty, type Tensor, type TokenSampler } from "../../autograd/mod.ts";
import type { BatchedRequest, BatchRequest } from "./batched_request.ts";
import type { GenerativeModel } from "./decode.ts";
import type { KVCache } from "./kv_cache.ts";
import type { SamplingOptions } from "./sampling.ts";
import { topLogProbs } from "./token_log_probs.ts";

/** A request that waits for a row: nothing of it is on the device. */
export interface WaitingRow {
  readonly request: Required<Omit<BatchRequest, keyof SamplingOptions>>;
  readonly handle: BatchedRequest;
  readonly sampling: Required<SamplingOptions>;
}

/** A request and what it has on the device. */
export interface Row extends WaitingRow {
  readonly sampler: TokenSampler;
  /** The cache of the prompt, until the row joins the others. */
  cache: KVCache | null;
  /** Tokens that were read back. */
  readonly taken: number[];
}

/** Tokens of a row that are on their way from the device. */
export interface Choices {
  readonly row: Row;
  /** Steps of its sampler, `to` exclusive. */
  readonly from: number;
  to: number;
  /** Raw logits of each step, [V], where log-probabilities were asked for. */
  readonly logits: Tensor[];
}

/** What one turn of the loop left on the device. */
export interface Flight {
  readonly choices: readonly Choices[];
  readonly read: Promise<{ readonly tokens: Int32Array; readonly logits: readonly Float32Array[] }>;
}

/** Chooses the next token of each row. @param logits [rows, V] */
export function chooseTokens(
  model: GenerativeModel,
  rows: readonly Row[],
  logits: Tensor,
  choices: Choices[],
): void {
  const { device, facts: { vocabSize } } = model;
  const bytes = vocabSize * 4;
  const parts = rows.map(({ request }, i) => {
    const copyRow = (shape: number[]) => {
      const part = empty(device, shape);
      device.copy(logits.window(i * bytes, bytes), part.view); // a binding cannot begin at every row
      return part;
    };
    return { own: copyRow([1, vocabSize]), raw: request.logProbs >= 0 ? copyRow([vocabSize]) : null };
  });
  rows.forEach((row, i) => {
    const { own, raw } = parts[i];
    const { sampler } = row;
    sampler.sample(own);
    own.dispose();
    let of = choices.find((choice) => choice.row === row);
    if (!of) choices.push(of = { row, from: sampler.steps - 1, to: sampler.steps, logits: [] });
    of.to = sampler.steps;
    if (raw) of.logits.push(raw);
  });
}

/** Reads the tokens of a turn back, and the logits that were asked for; without any, waits for the device. */
export function readTokens(device: Device, choices: readonly Choices[]): Flight {
  const count = choices.reduce((sum, { from, to }) => sum + to - from, 0);
  const tokens = empty(device, [Math.max(1, count)], "int32");
  let at = 0;
  for (const { row: { sampler }, from, to } of choices) {
    device.copy(sampler.chosen(from, to), tokens.window(at * 4, (to - from) * 4));
    at += to - from;
  }
  const logits = choices.flatMap((choice) => choice.logits);
  const read = Promise.all([tokens, ...logits].map((tensor) => device.read(tensor.view)))
    .then(([ids, ...rows]) => ({
      tokens: new Int32Array(ids.buffer, ids.byteOffset, count),
      logits: rows.map((row) => new Float32Array(row.buffer, row.byteOffset, row.byteLength / 4)),
    }))
    .finally(() => [tokens, ...logits].forEach((tensor) => tensor.dispose()));
  read.catch(() => {}); // reported where it is awaited
  return { choices, read };
}

/** Gives each request its tokens. */
export function giveTokens(
  choices: readonly Choices[],
  { tokens, logits }: Awaited<Flight["read"]>,
): void {
  let at = 0;
  let rawAt = 0;
  for (const { row, from, to } of choices) {
    const { handle, request: { eosTokenId, maxNewTokens, logProbs } } = row;
    for (let step = from; step < to; step++) {
      const id = tokens[at++];
      const raw = logProbs >= 0 ? logits[rawAt++] : null;
      if (handle.isOver) continue;
      if (id < 0) {
        handle.fail(
          new RangeError(
            `Cannot choose the next token: finite logits are required, received others in step ${step}`,
          ),
        );
      } else if (eosTokenId.includes(id)) handle.end("eos");
      else {
        handle.push(raw ? { id, logProbs: topLogProbs(raw, id, logProbs) } : { id });
        if (row.taken.push(id) === maxNewTokens) handle.end("length");
      }
    }
  }
}
