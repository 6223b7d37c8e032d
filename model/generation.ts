/**
 * Text generation with a KV cache on the device (`transformers`' `generate`, greedy search and sampling).
 * @module
 */

import { HostRandom, noGrad, Tensor } from "../autograd/mod.ts";
import type { GPT2LMHeadModel } from "./gpt2.ts";
import { checkRows, type TokenIds, toMaskRows } from "./inputs.ts";
import { KVCache } from "./kv_cache.ts";
import { chooseToken, resolveSampling, type SamplingOptions } from "./sampling.ts";

/** Rows of prompts, or what a tokenizer returns. Rows of different length are padded on the left. */
export type GenerateInputs = readonly (readonly number[])[] | {
  readonly inputIds: TokenIds;
  readonly attentionMask?: readonly (readonly number[])[] | Tensor;
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
  /** Keep keys and values instead of computing them again; default true. */
  useCache?: boolean;
}

/** Prompts as rows and mask rows (null: no padding). */
function readInputs(inputs: GenerateInputs): {
  rows: number[][];
  mask: readonly (readonly number[])[] | null;
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
  return { rows: inputIds.map((row) => [...row]), mask };
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
  const { rows, mask } = readInputs(inputs);
  const prompt = rows[0].length;
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
  const random = new HostRandom(options.seed ?? 0);
  const training = model.training;
  const ended = rows.map(() => false);
  const attention = mask?.map((row) => [...row]) ?? null;
  const cache = useCache ? new KVCache(config, model.device, rows.length, prompt + maxNewTokens) : undefined;
  try {
    model.eval();
    for (let step = 0; step < maxNewTokens; step++) {
      const fresh = cache && step > 0 ? 1 : prompt + step;
      const positions = attention && positionsOf(attention).map((row) => row.slice(-fresh));
      const logits = noGrad(() =>
        model.lastLogits({
          inputIds: rows.map((row) => row.slice(-fresh)),
          attentionMask: attention ?? undefined,
          positionIds: positions ?? undefined,
          pastKeyValues: cache,
        })
      );
      const values = await logits.data() as Float32Array;
      logits.dispose();
      const chosen = rows.map((row, i) => {
        const own = values.subarray(i * config.vocabSize, (i + 1) * config.vocabSize);
        return ended[i] ? pad : chooseToken(own, row, sampling, random);
      });
      chosen.forEach((token, i) => {
        rows[i].push(token);
        attention?.[i].push(1);
        ended[i] ||= eos.includes(token);
      });
      streamer?.put(chosen);
      if (ended.every(Boolean)) break;
    }
    streamer?.end();
  } finally {
    cache?.dispose();
    model.train(training);
  }
  return rows;
}
