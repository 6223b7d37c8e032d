/**
 * Text generation with a KV cache on the device (`transformers`' `generate`: greedy search, sampling, beam search).
 * @module
 */

import { defaultSeed, loadSampling, TokenSampler } from "../../autograd/mod.ts";
import { checkOptions } from "../../options/names.ts";
import type { ModelFacts } from "../facts.ts";
import { decode, type GenerativeModel, type RunStep, type Streamer } from "./decode.ts";
import { type GenerateInputs, readPrompts, virtualCount } from "./prompts.ts";
import type { KeptCache } from "./kept_cache.ts";
import { KVCache } from "./kv_cache.ts";
import type { RareOptions } from "./rare_options.ts";
import { resolveSampling, SAMPLING_NAMES, type SamplingOptions } from "./sampling.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

/**
 * Options of `generate`. One that is `undefined` has its default; a name that does not exist is refused.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, AutoTokenizer, type GenerateOptions } from "@peft/webgpu";
 *
 * const tokenizer = await AutoTokenizer.fromPretrained("examples/demo/model");
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const options: GenerateOptions = { tokenizer, maxNewTokens: 12, doSample: true, temperature: 0.8, stopStrings: "." };
 * const [ids] = await model.generate("Once upon a time", options); // to the end of the sentence, at most 12 tokens
 * console.log(tokenizer.decode(ids));
 * ```
 */
export interface GenerateOptions extends SamplingOptions {
  /** Greatest number of new tokens; default 20, as in transformers. */
  maxNewTokens?: number;
  /** Greatest number of tokens of prompt and answer, where `maxNewTokens` is not given. */
  maxLength?: number;
  /** Least number of new tokens: no end token before; default 0. */
  minNewTokens?: number;
  /** Tokens that are not chosen. */
  suppressTokens?: readonly number[];
  /** Words, as their token ids, that do not occur in what is new. */
  badWordsIds?: readonly (readonly number[])[];
  /**
   * Answers to each prompt, which are then next to each other in the result; default 1. More need `doSample`, or at least
   * as many `numBeams`, of which they are the best.
   */
  numReturnSequences?: number;
  /** Tokens that end a row; default the configuration's. */
  eosTokenId?: number | readonly number[] | null;
  /** Token that fills rows that have ended; default the configuration's, else the first end token. */
  padTokenId?: number | null;
  /** Seed of sampling; default that of `setSeed()`, else 0. */
  seed?: number;
  /** Receives each new token. */
  streamer?: Streamer;
  /** Keep keys and values of earlier tokens; default true. */
  useCache?: boolean;
  /**
   * A cache to keep for the next call: tokens that begin the prompts as they began those of the call before are not
   * computed again. Other adapters or another model empty it; call its `crop(0)` after weights change by training or hot
   * swapping. Default: a cache for this call alone.
   */
  pastKeyValues?: KVCache;
  /** Running sequences of beam search; default 1, which means no beam search. */
  numBeams?: number;
  /** Beam search: power of the length that scores of ended sequences are divided by; default 1. */
  lengthPenalty?: number;
  /** Beam search: stop a row as soon as `numBeams` sequences have ended; default false. */
  earlyStopping?: boolean;
  /** Ends the generation after the current token: the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** The model's tokenizer: for prompts that are texts, and for `stopStrings`. */
  tokenizer?: Tokenizer;
  /** Texts that end a row as soon as its last token completes one of them; needs `tokenizer`. */
  stopStrings?: string | readonly string[];
  /** @internal Runs each forward; a model with adapters sets here which of them act in it. Default: just runs it. */
  runStep?: RunStep;
}

/** Every option beside those of sampling; forgetting one here is a compile error. */
const OPTIONS: Readonly<Record<Exclude<keyof GenerateOptions, keyof SamplingOptions | "runStep">, true>> = {
  maxNewTokens: true,
  maxLength: true,
  minNewTokens: true,
  suppressTokens: true,
  badWordsIds: true,
  numReturnSequences: true,
  eosTokenId: true,
  padTokenId: true,
  seed: true,
  streamer: true,
  useCache: true,
  pastKeyValues: true,
  numBeams: true,
  lengthPenalty: true,
  earlyStopping: true,
  signal: true,
  tokenizer: true,
  stopStrings: true,
};
const OPTION_NAMES = [...SAMPLING_NAMES, ...Object.keys(OPTIONS), "adapterNames"];

function checkNames(options: GenerateOptions): void {
  const { runStep: _, ...given } = options;
  if ("adapterNames" in given && given.adapterNames !== undefined) {
    throw new TypeError("Cannot generate: adapterNames needs a PeftModel, received a model without adapters");
  }
  checkOptions("generate", given, OPTION_NAMES);
  if (given.streamer && !given.streamer.put) {
    throw new TypeError(
      `Cannot generate: streamer must be an object with put() and end(), received a ${typeof given.streamer}`,
    );
  }
}

/** Options of which most calls have none. */
const RARE = ["minNewTokens", "suppressTokens", "badWordsIds", "stopStrings", "pastKeyValues"] as const;

/** What they come to. */
async function rareOptions(
  options: GenerateOptions,
  eos: readonly number[],
  vocabSize: number,
): Promise<RareOptions> {
  if (RARE.every((name) => options[name] === undefined)) return { banned: null, stop: null };
  const { readRareOptions } = await import("./rare_options.ts");
  return readRareOptions(options, eos, vocabSize);
}

/** Fails unless `id` is in the vocabulary. @throws {RangeError} */
function checkTokenId(name: string, id: number, vocabSize: number): void {
  if (Number.isInteger(id) && id >= 0 && id < vocabSize) return;
  throw new RangeError(
    `Cannot generate: ${name} must be a token id from 0 to ${vocabSize - 1}, received ${id}`,
  );
}

/** How many new tokens at most. @throws {RangeError} where there is no room for one */
function countOf({ maxNewTokens, maxLength }: GenerateOptions, prompt: number, facts: ModelFacts): number {
  const { maxPositions, maxPositionsKey } = facts;
  if (
    maxNewTokens === undefined && maxLength !== undefined &&
    !(Number.isInteger(maxLength) && maxLength > prompt)
  ) {
    throw new RangeError(
      `Cannot generate: maxLength must be an integer above the ${prompt} tokens of the prompt, received ${maxLength}`,
    );
  }
  const count = maxNewTokens ?? (maxLength === undefined ? 20 : maxLength - prompt);
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`Cannot generate: maxNewTokens must be a positive integer, received ${count}`);
  }
  if (prompt + count <= maxPositions) return count;
  const room = Math.max(0, maxPositions - prompt) || "none";
  throw new RangeError(
    `Cannot generate ${count} tokens after ${prompt}: ${maxPositionsKey} ${maxPositions} allows ${room}`,
  );
}

/** Answers to each prompt. @throws {RangeError} for a number that is none, or that greedy search cannot give */
function answersOf({ numReturnSequences = 1, numBeams = 1, doSample = false }: GenerateOptions): number {
  if (!Number.isInteger(numReturnSequences) || numReturnSequences < 1) {
    throw new RangeError(
      `Cannot generate: numReturnSequences must be a positive integer, received ${numReturnSequences}`,
    );
  }
  if (numReturnSequences === 1 || numBeams !== 1 || doSample) return numReturnSequences;
  throw new RangeError(
    `Cannot generate: numReturnSequences above 1 needs doSample or numBeams, received ${numReturnSequences} without them`,
  );
}

/** Each row `count` times. */
const repeated = <T>(rows: readonly (readonly T[])[], count: number): T[][] =>
  rows.flatMap((row) => Array.from({ length: count }, () => [...row]));

/**
 * Continues each row until an end token or `maxNewTokens`; rows that end earlier are padded.
 * @returns prompts and new tokens
 * @throws {RangeError} if prompt and new tokens exceed the model's positions, or an option is outside its range
 * @throws {TypeError} for an option that does not exist, or a text without a tokenizer
 * @throws the reason of `signal`, once it is aborted
 */
export async function generate(
  model: GenerativeModel,
  inputs: GenerateInputs,
  options: GenerateOptions = {},
): Promise<number[][]> {
  checkNames(options);
  const { facts } = model;
  const { streamer, useCache = true, signal } = options;
  const numReturnSequences = answersOf(options);
  signal?.throwIfAborted();
  const sampling = resolveSampling(options);
  const eos = [options.eosTokenId === undefined ? facts.eosTokenIds : options.eosTokenId ?? []].flat();
  const strange = eos.find((id) => !Number.isInteger(id) || id < 0);
  if (strange !== undefined) {
    throw new RangeError(`Cannot generate: eosTokenId must be token ids or null, received ${strange}`);
  }
  const { padTokenId } = options;
  if (padTokenId !== undefined && padTokenId !== null) {
    checkTokenId("padTokenId", padTokenId, facts.vocabSize);
  }
  const inVocabulary = (id: number | null | undefined) => (id ?? -1) >= 0 && id! < facts.vocabSize;
  const pad = padTokenId ?? [facts.padTokenId, eos[0]].find(inVocabulary) ?? 0;
  const prompts = readPrompts(inputs, options.tokenizer, pad);
  const { virtual } = prompts;
  const prompt = virtualCount(virtual) + prompts.rows[0].length;
  const maxNewTokens = countOf(options, prompt, facts);
  const { banned, stop, openCache } = await rareOptions(options, eos, facts.vocabSize);
  await loadSampling({ ...sampling, banned });
  if (options.numBeams !== undefined && options.numBeams !== 1) {
    const { searchBeams } = await import("./beam_generation.ts");
    const job = { ...options, numReturnSequences, eos, pad, maxNewTokens, sampling, banned, stop };
    return await searchBeams(model, prompts, job);
  }
  const rows = repeated(prompts.rows, numReturnSequences);
  const mask = prompts.mask && repeated(prompts.mask, numReturnSequences);
  const { runStep = (step) => step(), pastKeyValues } = options;
  const capacity = prompt + maxNewTokens;
  const padded = mask?.some((row) => row.includes(0)) ?? false;
  const chosen = rows.map((row) => [...row]);
  let own: KVCache | undefined;
  let kept: KeptCache | undefined;
  let sampler: TokenSampler | undefined;
  try {
    kept = openCache?.(model, { rows, padded, virtual: virtualCount(virtual), capacity, runStep });
    if (!kept && useCache) own = new KVCache(model, model.device, rows.length, capacity);
    sampler = new TokenSampler(model.device, {
      ...sampling,
      banned,
      prompts: rows,
      vocabSize: facts.vocabSize,
      maxSteps: maxNewTokens,
      endTokens: eos,
      padToken: pad,
      seed: options.seed ?? defaultSeed(),
    });
    const cache = pastKeyValues ?? own;
    await decode(model, {
      rows,
      chosen,
      mask,
      virtual,
      eos,
      pad,
      maxNewTokens,
      cache,
      sampler,
      streamer,
      stop,
      signal,
      runStep,
    });
    streamer?.end();
  } finally {
    kept?.end(chosen);
    own?.dispose();
    sampler?.dispose();
  }
  return rows;
}
