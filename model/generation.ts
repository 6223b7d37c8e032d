/**
 * Text generation with a KV cache on the device (`transformers`' `generate`, greedy search and sampling).
 * @module
 */

import { defaultSeed, noGrad, Tensor, tidy, TokenSampler } from "../autograd/mod.ts";
import { inEvalMode } from "../nn/mod.ts";
import { beamSearch } from "./beam_search.ts";
import type { GPT2LMHeadModel } from "./gpt2.ts";
import type { GPT2Inputs } from "./gpt2_model.ts";
import { checkRows, type TokenIds, toMaskRows } from "./inputs.ts";
import { KVCache } from "./kv_cache.ts";
import { resolveSampling, type SamplingOptions } from "./sampling.ts";

/** Rows of prompts, or what a tokenizer returns. Rows of different length are padded on the left. */
export type GenerateInputs = readonly (readonly number[])[] | {
  readonly inputIds: TokenIds;
  readonly attentionMask?: readonly (readonly number[])[] | Tensor;
  /** Virtual tokens before every row: see `GPT2Inputs`. */
  readonly promptEmbeds?: Tensor;
  /** Virtual keys and values before every row: see `GPT2Inputs`. */
  readonly prefixKeyValues?: readonly Tensor[];
};

/** Receives tokens as they are chosen. */
export interface Streamer {
  /** One new token of each row. */
  put(tokens: readonly number[]): void;
  /** No more will come. */
  end(): void;
}

/** Options of `generate`. */
export interface GenerateOptions extends SamplingOptions {
  /** New tokens at most; default 20, as in transformers. */
  maxNewTokens?: number;
  /** Tokens that end a row; default the configuration's. */
  eosTokenId?: number | readonly number[] | null;
  /** Fills up rows that ended; default the configuration's, else the first end token. */
  padTokenId?: number | null;
  /** Seed of sampling; default 0. */
  seed?: number;
  /** Called with each new token. */
  streamer?: Streamer;
  /** Keep keys and values instead of computing them again; default true. Beam search computes them again. */
  useCache?: boolean;
  /** Running sequences of beam search; default 1: none. */
  numBeams?: number;
  /** Beam search: power of the length that scores of ended sequences are divided by; default 1. */
  lengthPenalty?: number;
  /** Beam search: stop a row as soon as `numBeams` sequences have ended; default false. */
  earlyStopping?: boolean;
  /** @internal Runs each forward: adapters set what it depends on for as long as it runs. Default: calls it. */
  runStep?: <T>(step: () => T) => T;
}

/** Prompts as rows and mask rows (null: no padding). */
function readInputs(inputs: GenerateInputs): {
  rows: number[][];
  mask: readonly (readonly number[])[] | null;
  virtual: Pick<GPT2Inputs, "promptEmbeds" | "prefixKeyValues">;
} {
  const given = Array.isArray(inputs)
    ? { inputIds: inputs as number[][] }
    : inputs as Exclude<GenerateInputs, readonly (readonly number[])[]>;
  const { inputIds, attentionMask } = given as { inputIds: TokenIds; attentionMask?: number[][] | Tensor };
  if (inputIds instanceof Tensor || attentionMask instanceof Tensor) {
    throw new TypeError(
      "Cannot generate: inputIds and attentionMask on the host (number[][]) are required, received a tensor",
    );
  }
  const [batch, length] = checkRows("inputIds", inputIds);
  const mask = attentionMask ? toMaskRows(attentionMask, batch, length) : null;
  const padded = mask?.findIndex((row) => row[length - 1] === 0) ?? -1;
  if (padded >= 0) {
    throw new RangeError(
      `Cannot generate: prompts must be padded on the left (tokenizer.paddingSide = "left"), row ${padded} ends in padding`,
    );
  }
  const { promptEmbeds, prefixKeyValues } = given as GPT2Inputs;
  return { rows: inputIds.map((row) => [...row]), mask, virtual: { promptEmbeds, prefixKeyValues } };
}

/** Positions that skip padding: cumulative sum of the mask minus 1, 0 for padding. */
function positionsOf(mask: readonly (readonly number[])[]): number[][] {
  return mask.map((row) => {
    let count = 0;
    return row.map((value) => value === 0 ? 0 : count++);
  });
}

/**
 * Continues each row until an end token or `maxNewTokens`; rows that ended are filled up.
 * @returns prompts and new tokens
 * @throws {RangeError} if prompt and new tokens exceed n_positions, or an option is outside its range
 */
export async function generate(
  model: GPT2LMHeadModel,
  inputs: GenerateInputs,
  options: GenerateOptions = {},
): Promise<number[][]> {
  const { config } = model;
  const { maxNewTokens = 20, streamer, useCache = true } = options;
  const sampling = resolveSampling(options);
  const eos = [options.eosTokenId === undefined ? config.eosTokenIds : options.eosTokenId ?? []].flat();
  const pad = options.padTokenId ?? config.padTokenId ?? eos[0] ?? 0;
  const { rows, mask, virtual } = readInputs(inputs);
  const virtualTokens = virtual.promptEmbeds?.shape[0] ?? virtual.prefixKeyValues?.[0].shape[0] ?? 0;
  const prompt = virtualTokens + rows[0].length;
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new RangeError(
      `Cannot generate: maxNewTokens must be a positive integer, received ${maxNewTokens}`,
    );
  }
  if (prompt + maxNewTokens > config.nPositions) {
    throw new RangeError(
      `Cannot generate ${maxNewTokens} tokens after ${prompt}: n_positions ${config.nPositions} allows ${
        config.nPositions - prompt
      }`,
    );
  }
  if (options.numBeams !== undefined && options.numBeams !== 1) {
    return await searchBeams(model, { rows, mask, virtual }, {
      ...options,
      eos,
      pad,
      maxNewTokens,
      sampling,
    });
  }
  let cache: KVCache | undefined;
  let sampler: TokenSampler | undefined;
  const { runStep = (step) => step() } = options;
  try {
    if (useCache) cache = new KVCache(config, model.device, rows.length, prompt + maxNewTokens);
    sampler = new TokenSampler(model.device, {
      ...sampling,
      prompts: rows,
      vocabSize: config.vocabSize,
      maxSteps: maxNewTokens,
      endTokens: eos,
      padToken: pad,
      seed: options.seed ?? defaultSeed(),
    });
    await decode(model, { rows, mask, virtual, eos, maxNewTokens, cache, sampler, streamer, runStep });
    streamer?.end();
  } finally {
    cache?.dispose();
    sampler?.dispose();
  }
  return rows;
}

/** Beam search over prompts. @throws {RangeError} for options it cannot go with, or out of range */
async function searchBeams(
  model: GPT2LMHeadModel,
  { rows, mask, virtual }: Pick<Decoding, "rows" | "mask" | "virtual">,
  options: GenerateOptions & {
    eos: readonly number[];
    pad: number;
    maxNewTokens: number;
    sampling: Required<SamplingOptions>;
  },
): Promise<number[][]> {
  const { numBeams = 1, lengthPenalty = 1, earlyStopping = false, sampling, streamer } = options;
  if (!Number.isInteger(numBeams) || numBeams < 1) {
    throw new RangeError(`Cannot generate: numBeams must be a positive integer, received ${numBeams}`);
  }
  if (!Number.isFinite(lengthPenalty)) {
    throw new RangeError(`Cannot generate: lengthPenalty must be a number, received ${lengthPenalty}`);
  }
  if (sampling.doSample || streamer) {
    throw new RangeError(
      `Cannot generate: beam search chooses by score and streams nothing, received ${
        sampling.doSample ? "doSample" : "a streamer"
      }`,
    );
  }
  const masks = mask?.flatMap((row) => Array.from({ length: numBeams }, () => row));
  const { runStep = (step) => step() } = options;
  return await beamSearch(rows, (sequences) => {
    const attention = masks?.map((row, i) => [
      ...row,
      ...new Array<number>(sequences[i].length - row.length).fill(1),
    ]);
    const forward = () =>
      model.lastLogits({
        inputIds: sequences,
        attentionMask: attention,
        positionIds: attention && positionsOf(attention),
        ...virtual,
      });
    return inEvalMode(() => runStep(() => tidy(forward)));
  }, { ...options, numBeams, lengthPenalty, earlyStopping, repetitionPenalty: sampling.repetitionPenalty });
}

/** Time the tokens of one readback should take, in milliseconds: short enough for a reader, long enough to hide it. */
const BLOCK_MS = 50;
/** Tokens of one readback at most. */
const MAX_BLOCK = 32;

/** What a generation works on; `rows` grow. */
interface Decoding {
  readonly rows: number[][];
  readonly mask: readonly (readonly number[])[] | null;
  readonly virtual: Pick<GPT2Inputs, "promptEmbeds" | "prefixKeyValues">;
  readonly eos: readonly number[];
  readonly maxNewTokens: number;
  readonly cache: KVCache | undefined;
  readonly sampler: TokenSampler;
  readonly streamer: Streamer | undefined;
  readonly runStep: <T>(step: () => T) => T;
}

/**
 * Appends tokens to every row. Each step's tokens stay on the device as the next step's input; they are read back in
 * blocks, and the next block is under way before the last one is read. Without a cache, every token is read at once.
 */
async function decode(model: GPT2LMHeadModel, job: Decoding): Promise<void> {
  const { rows, maxNewTokens, cache, sampler } = job;
  const ended = rows.map(() => false);
  let block = 1;
  let reading: Promise<number[][]> | null = null;
  const take = async (): Promise<boolean> => {
    const steps = await reading ?? [];
    for (const tokens of steps) {
      tokens.forEach((token, i) => {
        rows[i].push(token);
        ended[i] ||= job.eos.includes(token);
      });
      job.streamer?.put(tokens);
      if (ended.every(Boolean)) return true;
    }
    return false;
  };
  for (let done = 0; done < maxNewTokens;) {
    const begin = performance.now();
    const until = Math.min(maxNewTokens, done + block);
    for (let step = done; step < until; step++) recordStep(model, job, step);
    const next = sampler.read(done, until);
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
}

/** Appends the work of one step: forward of the new tokens, choice of the next ones. */
function recordStep(model: GPT2LMHeadModel, job: Decoding, step: number): void {
  const { rows, mask, virtual, cache, sampler } = job;
  const fresh = cache && step > 0;
  const width = fresh ? 1 : rows[0].length;
  const total = fresh ? cache.length - cache.virtualTokens + 1 : width;
  const attention = mask?.map((row) => [...row, ...new Array<number>(total - row.length).fill(1)]);
  const forward = () =>
    tidy(() => {
      const logits = model.lastLogits({
        inputIds: fresh ? sampler.next : rows,
        attentionMask: attention,
        positionIds: attention && positionsOf(attention).map((row) => row.slice(-width)),
        pastKeyValues: cache,
        ...(fresh ? {} : virtual),
      });
      sampler.sample(logits);
    });
  inEvalMode(() => job.runStep(() => noGrad(forward)));
}
