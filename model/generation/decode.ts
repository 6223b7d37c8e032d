/**
 * The loop of greedy search and sampling: one forward and one choice per step, read back in blocks.
 * @module
 */

import { type Device, noGrad, type Tensor, tidy, type TokenSampler } from "../../autograd/mod.ts";
import { inEvalMode } from "../../nn/mod.ts";
import type { ModelFacts } from "../facts.ts";
import type { DecoderInputs } from "../inputs.ts";
import { positionsOf, type Prompts } from "./prompts.ts";
import type { KVCache } from "./kv_cache.ts";
import type { StopStrings } from "./stop_strings.ts";

/** What generation asks of a model. */
export interface GenerativeModel {
  readonly facts: ModelFacts;
  readonly device: Device;
  /** Logits [B, V] of the last position of each row. */
  lastLogits(inputs: DecoderInputs): Tensor;
}

/**
 * Receives tokens as they are chosen.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { Streamer } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * let count = 0;
 * const counter: Streamer = { put: (tokens) => count += tokens.length, end: () => console.log(`${count} tokens`) };
 * await model.generate([[1, 2], [3, 4]], { maxNewTokens: 3, eosTokenId: null, streamer: counter }); // 6 tokens
 * ```
 */
export interface Streamer {
  /** Receives the prompts, before the first token. Optional. */
  begin?(prompts: readonly (readonly number[])[]): void;
  /** Receives one new token per row. */
  put(tokens: readonly number[]): void;
  /** Called after the last token. */
  end(): void;
}

/** Runs one forward after setting what it depends on: see `GenerateOptions.runStep`. */
export type RunStep = <T>(step: () => T) => T;

/** Everything that one generation needs; its `rows` and `chosen` grow token by token. */
export interface Decoding extends Prompts {
  /** The rows as the device chose their tokens: of a row that a text ended, more than `rows` has. */
  readonly chosen: number[][];
  /** Tokens that end a row. */
  readonly eos: readonly number[];
  /** Fills up rows that ended. */
  readonly pad: number;
  /** Greatest number of new tokens. */
  readonly maxNewTokens: number;
  /** Keys and values of earlier tokens; undefined: each step recomputes them. */
  readonly cache: KVCache | undefined;
  /** Chooses tokens. */
  readonly sampler: TokenSampler;
  /** Receives each token. */
  readonly streamer: Streamer | undefined;
  /** Texts that end a row. */
  readonly stop: StopStrings | null;
  /** Ends the generation. */
  readonly signal: AbortSignal | undefined;
  /** Runs each forward. */
  readonly runStep: RunStep;
}

/** Milliseconds that the tokens of one readback should take: too few for a reader to notice, enough to hide the readback. */
const BLOCK_MS = 50;
/** Greatest number of tokens per readback. */
const MAX_BLOCK = 32;

/**
 * Appends tokens to every row. Each step's tokens stay on the device as the next step's input. They are read back in
 * blocks, and the device works on the next block while the last one is read. Without a cache, each token is read before
 * the next step.
 * @throws the signal's reason once it is aborted; the current token is finished first
 */
export async function decode(model: GenerativeModel, job: Decoding): Promise<void> {
  const { rows, maxNewTokens, cache, sampler, stop, signal, pad } = job;
  const ended = rows.map(() => false);
  const stopped = rows.map(() => false);
  let block = 1;
  let reading: Promise<number[][]> | null = null;
  let next: Promise<number[][]> | null = null;
  const take = async (): Promise<boolean> => {
    const steps = await reading ?? [];
    for (const step of steps) {
      step.forEach((token, i) => job.chosen[i].push(token));
      const tokens = step.map((token, i) => stopped[i] ? pad : token);
      tokens.forEach((token, i) => {
        rows[i].push(token);
        if (ended[i]) return;
        stopped[i] = stop?.endsIn(rows[i]) ?? false;
        ended[i] = stopped[i] || job.eos.includes(token);
      });
      job.streamer?.put(tokens);
      signal?.throwIfAborted();
      if (ended.every(Boolean)) return true;
    }
    return false;
  };
  try {
    for (let done = 0; done < maxNewTokens;) {
      const begin = performance.now();
      const until = Math.min(maxNewTokens, done + block);
      for (let step = done; step < until; step++) recordStep(model, job, step);
      if (done === 0) job.streamer?.begin?.(rows); // not before: a call whose first step fails has shown nothing
      next = sampler.read(done, until);
      next.catch(() => {}); // reported where it is awaited
      if (await take()) return void await next;
      reading = next;
      if (!cache) {
        if (await take()) return;
        reading = null;
      }
      const tokenMs = (performance.now() - begin) / (until - done);
      if (cache && done > 0) block = Math.max(1, Math.min(MAX_BLOCK, Math.round(BLOCK_MS / tokenMs)));
      done = until;
    }
    await take();
  } catch (error) {
    await next?.catch(() => {}); // what is being read must not be freed
    throw error;
  }
}

/** Records the work of one step: the forward of the new tokens and the choice of the next ones. */
function recordStep(model: GenerativeModel, job: Decoding, step: number): void {
  const { rows, mask, virtual, cache, sampler } = job;
  const past = cache ? cache.length - cache.virtualTokens : 0;
  const continues = cache !== undefined && step > 0;
  const width = continues ? 1 : rows[0].length - past;
  const total = past + width;
  const attention = mask?.map((row) => [...row, ...new Array<number>(total - row.length).fill(1)]);
  const forward = () =>
    tidy(() => {
      const logits = model.lastLogits({
        inputIds: continues ? sampler.next : rows.map((row) => row.slice(past)),
        attentionMask: attention,
        positionIds: attention && positionsOf(attention).map((row) => row.slice(-width)),
        pastKeyValues: cache,
        ...(cache && cache.length > 0 ? {} : virtual),
      });
      sampler.sample(logits);
    });
  inEvalMode(() => job.runStep(() => noGrad(forward)));
}
