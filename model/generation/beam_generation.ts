/**
 * Beam search over a model's logits.
 * @module
 */

import { type BannedWords, tidy } from "../../autograd/mod.ts";
import { inEvalMode } from "../../nn/mod.ts";
import { beamSearch } from "./beam_search.ts";
import type { GenerativeModel, RunStep, Streamer } from "./decode.ts";
import { KVCache } from "./kv_cache.ts";
import { positionsOf, type Prompts, virtualCount } from "./prompts.ts";
import type { SamplingOptions } from "./sampling.ts";
import type { StopStrings } from "./stop_strings.ts";

/** What the caller of `generate` asked for, with defaults where beam search has none of its own. */
export interface BeamJob {
  readonly numBeams?: number;
  readonly lengthPenalty?: number;
  readonly earlyStopping?: boolean;
  readonly useCache?: boolean;
  readonly runStep?: RunStep;
  readonly signal?: AbortSignal;
  readonly maxNewTokens: number;
  readonly numReturnSequences: number;
  readonly sampling: Required<SamplingOptions>;
  readonly banned: BannedWords | null;
  readonly stop: StopStrings | null;
  /** Tokens that end a sequence. */
  readonly eos: readonly number[];
  /** Fills up shorter sequences. */
  readonly pad: number;
  /** Refused where they are given. */
  readonly pastKeyValues?: KVCache;
  readonly streamer?: Streamer;
}

/** Beam search over prompts. @throws {RangeError} for options that do not combine with it or are out of range */
export async function searchBeams(
  model: GenerativeModel,
  { rows, mask, virtual }: Prompts,
  options: BeamJob,
): Promise<number[][]> {
  const { numBeams = 1, lengthPenalty = 1, earlyStopping = false, sampling, streamer } = options;
  if (!Number.isInteger(numBeams) || numBeams < 1) {
    throw new RangeError(`Cannot generate: numBeams must be a positive integer, received ${numBeams}`);
  }
  if (options.numReturnSequences > numBeams) {
    throw new RangeError(
      `Cannot generate: numReturnSequences must be at most numBeams (${numBeams}), received ${options.numReturnSequences}`,
    );
  }
  if (!Number.isFinite(lengthPenalty)) {
    throw new RangeError(`Cannot generate: lengthPenalty must be a number, received ${lengthPenalty}`);
  }
  if (options.pastKeyValues) {
    throw new RangeError("Cannot generate: beam search has a cache of its own, received pastKeyValues");
  }
  if (sampling.presencePenalty !== 0) {
    throw new RangeError("Cannot generate: beam search has no presencePenalty, received one");
  }
  if (sampling.doSample || streamer) {
    throw new RangeError(
      `Cannot generate: beam search neither samples nor streams, received ${
        sampling.doSample ? "doSample" : "a streamer"
      }`,
    );
  }
  const masks = mask?.flatMap((row) => Array.from({ length: numBeams }, () => row));
  const { runStep = (step) => step(), useCache = true, maxNewTokens } = options;
  const capacity = virtualCount(virtual) + rows[0].length + maxNewTokens;
  const cache = useCache ? new KVCache(model, model.device, rows.length * numBeams, capacity) : undefined;
  const logitsOf = (sequences: number[][], parents: number[]) => {
    const fresh = cache !== undefined && cache.length > 0;
    const width = fresh ? 1 : sequences[0].length;
    if (fresh) cache.reorder(parents);
    const attention = masks?.map((row, i) => [
      ...row,
      ...new Array<number>(sequences[i].length - row.length).fill(1),
    ]);
    const forward = () =>
      model.lastLogits({
        inputIds: sequences.map((ids) => ids.slice(-width)),
        attentionMask: attention,
        positionIds: attention && positionsOf(attention).map((row) => row.slice(-width)),
        pastKeyValues: cache,
        ...(fresh ? {} : virtual),
      });
    return inEvalMode(() => runStep(() => tidy(forward)));
  };
  const { repetitionPenalty, noRepeatNgramSize } = sampling;
  const search = { ...options, numBeams, lengthPenalty, earlyStopping, repetitionPenalty, noRepeatNgramSize };
  try {
    return await beamSearch(rows, logitsOf, search);
  } finally {
    cache?.dispose();
  }
}
