/**
 * Beam search as `transformers` does it (`GenerationMixin._beam_search`, version 5): each row has
 * `numBeams` running sequences, of whose continuations the best ones run on. Sequences that end are ranked by their mean
 * log-probability. Scores are float64 on the host.
 * @module
 */

import { type BannedWords, noGrad, readAndDispose, type Tensor } from "../../autograd/mod.ts";
import { banWords } from "./banned_words.ts";

/** Options of the search. */
export interface BeamOptions {
  /** Running sequences per row. */
  readonly numBeams: number;
  /** Power of the length that scores of ended sequences are divided by. */
  readonly lengthPenalty: number;
  /** Stop a row as soon as `numBeams` sequences have ended; false: once no running sequence can beat an ended one. */
  readonly earlyStopping: boolean;
  /** Tokens that end a sequence. */
  readonly eos: readonly number[];
  /** Fills up shorter sequences. */
  readonly pad: number;
  /** Greatest number of new tokens. */
  readonly maxNewTokens: number;
  /** Multiplies the log-probabilities of tokens that the sequence already contains. */
  readonly repetitionPenalty: number;
  /** No run of so many tokens occurs twice in a sequence; 0 for any. */
  readonly noRepeatNgramSize: number;
  /** Words that do not occur. */
  readonly banned: BannedWords | null;
  /** Sequences of a prompt that are returned, at most `numBeams`. */
  readonly numReturnSequences: number;
  /** Tells whether the text of a sequence ends it. */
  readonly stop?: { endsIn(ids: readonly number[]): boolean } | null;
  /** Ends the search. */
  readonly signal?: AbortSignal;
}

interface Beam {
  readonly ids: readonly number[];
  readonly score: number;
  /** Which of the row's running sequences it continues. */
  readonly parent: number;
}

/** The search for one prompt. */
interface Search {
  running: Beam[];
  /** Sequences that have ended, best first; at most `numBeams`. */
  ended: Beam[];
  /** Whether a running sequence may still beat an ended one. */
  improvable: boolean;
}

/** What takes a sequence out of the search: far more than log-probabilities differ. */
const ENDED = 1e9;

/** Log softmax of one row of logits [V], with the penalty on tokens in `ids`. */
function logProbabilities(logits: Float32Array, ids: readonly number[], penalty: number): Float64Array {
  let high = -Infinity;
  for (const value of logits) high = Math.max(high, value);
  let total = 0;
  for (const value of logits) total += Math.exp(value - high);
  const norm = high + Math.log(total);
  const result = Float64Array.from(logits, (value) => value - norm);
  if (penalty !== 1) {
    for (const id of new Set(ids)) result[id] *= penalty; // log-probabilities are at most 0
  }
  return result;
}

/** Rules out tokens that would repeat a run of `size` tokens of `ids`, as `kernels/ban_repeats.ts` does. */
function banRepeats(scores: Float64Array, ids: readonly number[], size: number): void {
  const tail = ids.slice(ids.length - size + 1);
  for (let i = 0; i + size <= ids.length; i++) {
    if (tail.every((id, k) => ids[i + k] === id)) scores[ids[i + size - 1]] = -Infinity;
  }
}

/** The `count` best continuations of all running sequences. */
function continuations(running: readonly Beam[], rows: readonly Float64Array[], count: number): Beam[] {
  const best: { beam: number; token: number; score: number }[] = [];
  rows.forEach((row, beam) => {
    for (let token = 0; token < row.length; token++) {
      const score = running[beam].score + row[token];
      if (best.length === count && score <= best[count - 1].score) continue;
      let at = best.length;
      while (at > 0 && best[at - 1].score < score) at--;
      best.splice(at, 0, { beam, token, score });
      if (best.length > count) best.pop();
    }
  });
  return best.map(({ beam, token, score }) => ({ ids: [...running[beam].ids, token], score, parent: beam }));
}

/**
 * Continues each prompt with its best sequences.
 * @param prompts rows of one length
 * @param logitsOf the last logits [rows, V] of sequences, each one token longer than that in row `parents[row]` of the
 * call before; called without gradients
 * @returns prompts and new tokens, filled up to one length
 */
export async function beamSearch(
  prompts: readonly (readonly number[])[],
  logitsOf: (sequences: number[][], parents: number[]) => Tensor,
  options: BeamOptions,
): Promise<number[][]> {
  const { numBeams, lengthPenalty, earlyStopping, eos, pad, maxNewTokens, repetitionPenalty } = options;
  const prompt = prompts[0].length;
  const kept = Math.max(2, 1 + eos.length) * numBeams;
  const searches = prompts.map((ids): Search => ({
    running: Array.from({ length: numBeams }, (_, beam) => ({
      ids,
      score: beam === 0 ? 0 : -ENDED,
      parent: beam,
    })),
    ended: [],
    improvable: true,
  }));
  for (let step = 1; step <= maxNewTokens; step++) {
    const sequences = searches.flatMap(({ running }) => running.map(({ ids }) => [...ids]));
    const parents = searches.flatMap(({ running }, row) =>
      running.map(({ parent }) => row * numBeams + parent)
    );
    const logits = noGrad(() => logitsOf(sequences, parents));
    const V = logits.shape[1];
    const values = await readAndDispose(logits) as Float32Array;
    options.signal?.throwIfAborted();
    searches.forEach((search, row) => {
      const rows = search.running.map(({ ids }, beam) => {
        const at = (row * numBeams + beam) * V;
        const scores = logProbabilities(values.subarray(at, at + V), ids, repetitionPenalty);
        if (options.noRepeatNgramSize > 0) banRepeats(scores, ids, options.noRepeatNgramSize);
        if (options.banned) banWords(scores, ids, options.banned, step - 1);
        return scores;
      });
      const best = continuations(search.running, rows, kept);
      const ended = new Set(
        best.filter(({ ids }) =>
          step === maxNewTokens || eos.includes(ids.at(-1)!) || options.stop?.endsIn(ids)
        ),
      );
      const ends = (beam: Beam) => ended.has(beam);
      const full = earlyStopping && search.ended.length === numBeams;
      if (search.improvable && !full) {
        const fresh = best.slice(0, numBeams).filter(ends)
          .map((beam) => ({ ...beam, score: beam.score / step ** lengthPenalty }));
        search.ended = [...search.ended, ...fresh].sort((a, b) => b.score - a.score).slice(0, numBeams);
      }
      // Where fewer than `numBeams` run on, ended ones fill up the batch; their continuations are never among the best.
      search.running = best.map((beam) => ends(beam) ? { ...beam, score: beam.score - ENDED } : beam)
        .sort((a, b) => b.score - a.score).slice(0, numBeams);
      const worst = search.ended.length < numBeams ? -ENDED : search.ended.at(-1)!.score;
      search.improvable &&= !best.every(ends) && search.running[0].score / step ** lengthPenalty > worst;
    });
    const done = earlyStopping && searches.every(({ ended }) => ended.length === numBeams);
    if (done || !searches.some(({ improvable }) => improvable)) break;
  }
  const results = searches.flatMap(({ ended, running }) =>
    [...ended, ...running].slice(0, options.numReturnSequences).map(({ ids }) => [...ids])
  );
  const length = Math.max(...results.map((ids) => ids.length), prompt);
  return results.map((ids) => [...ids, ...new Array<number>(length - ids.length).fill(pad)]);
}
