/**
 * Choosing the next tokens on the device, so that generation need not read logits back.
 * @module
 */

import { banRepeats } from "../../kernels/ban_repeats.ts";
import { banWords } from "../../kernels/ban_words.ts";
import { choiceIterations, greedyTokens } from "../../kernels/choose_token.ts";
import { drawParams, sampleTokens } from "../../kernels/sample.ts";
import type { BufferView, Device } from "../../gpu/mod.ts";
import { tidy, untracked } from "../scope.ts";
import { showShape } from "../shape.ts";
import { empty, full, Tensor } from "../tensor.ts";

/** Words whose last token is not chosen where it would complete them. */
export interface BannedWords {
  /** Their tokens; one of a single token is never chosen. */
  readonly words: readonly (readonly number[])[];
  /** How many of the words, the first ones, are banned in the first `steps` steps alone. */
  readonly early: number;
  /** Steps in which they are. */
  readonly steps: number;
}

/** How tokens are chosen, and when rows end. */
export interface SamplerOptions {
  /** Prompts: tokens that the repetition penalty counts as seen. */
  readonly prompts: readonly (readonly number[])[];
  /** Number of tokens. */
  readonly vocabSize: number;
  /** Tokens to choose at most. */
  readonly maxSteps: number;
  /** Draw from the distribution, or take the maximum. */
  readonly doSample: boolean;
  /** Divides the logits. */
  readonly temperature: number;
  /** Keep the k most likely tokens; 0 keeps all. */
  readonly topK: number;
  /** Keep the most likely tokens up to this mass. */
  readonly topP: number;
  /** Keep tokens of at least this part of the greatest probability. */
  readonly minP: number;
  /** Above 1, tokens that occurred become less likely. */
  readonly repetitionPenalty: number;
  /** Subtracted once from the logits of tokens that were chosen. */
  readonly presencePenalty: number;
  /** No run of so many tokens occurs twice in a row; 0 for any. */
  readonly noRepeatNgramSize: number;
  /** Words that do not occur; default none. */
  readonly banned?: BannedWords | null;
  /** Tokens that end a row. */
  readonly endTokens: readonly number[];
  /** Fills up rows that ended. */
  readonly padToken: number;
  /** Seed of the draws. */
  readonly seed: number;
}

/** Where each word begins, the end of the last one, and their tokens. */
function wordTable(words: readonly (readonly number[])[]): number[] {
  let at = words.length + 1;
  const starts = words.map(({ length }) => (at += length) - length);
  return [...starts, at, ...words.flat()];
}

/** Loads the kernels that a sampler needs for its options. */
export async function loadSampling(
  { doSample, noRepeatNgramSize, banned }: Pick<SamplerOptions, "doSample" | "noRepeatNgramSize" | "banned">,
): Promise<void> {
  if (doSample) await import("../../kernels/sample.ts");
  if (noRepeatNgramSize > 0) await import("../../kernels/ban_repeats.ts");
  if (banned) await import("../../kernels/ban_words.ts");
}

/** The tokens of a batch, chosen step by step. */
export class TokenSampler {
  readonly #options: SamplerOptions;
  readonly #rows: number;
  readonly #seen: Tensor;
  readonly #ended: Tensor;
  readonly #next: Tensor;
  readonly #tokens: Tensor;
  /** Prompt and chosen tokens, int32 [rows, prompt + steps]; null where nothing asks for them. */
  readonly #history: Tensor | null;
  /** The banned words, int32: where each begins, the end, and their tokens. */
  readonly #words: Tensor | null;
  #step = 0;

  constructor(device: Device, options: SamplerOptions) {
    const { prompts, vocabSize, endTokens, maxSteps } = options;
    if (choiceIterations(vocabSize) > device.profile.maxLoopIterations) {
      throw new RangeError(
        `Cannot sample from ${vocabSize} tokens on "${device.adapterName}": this driver ends a shader after ` +
          `${device.profile.maxLoopIterations} loop iterations, enough for 420000 tokens`,
      );
    }
    this.#options = options;
    this.#rows = prompts.length;
    const seen = new Uint32Array(options.repetitionPenalty === 1 ? 0 : this.#rows * vocabSize);
    if (seen.length > 0) prompts.forEach((row, i) => row.forEach((token) => seen[i * vocabSize + token] = 1));
    const ended = Uint32Array.of(endTokens.length, ...endTokens, ...prompts.map(() => 0));
    // A scope frees the first ones if a later one does not fit; then they are the sampler's.
    const { noRepeatNgramSize, banned } = options;
    const history = noRepeatNgramSize > 0 || banned
      ? [prompts.map((row) => [...row, ...new Array<number>(maxSteps).fill(-1)])]
      : [];
    const words = banned ? [wordTable(banned.words)] : [];
    [this.#seen, this.#ended, this.#next, this.#tokens, this.#history = null, this.#words = null] = untracked(
      () =>
        tidy(() => [
          seen.length > 0 ? Tensor.from(seen, { device }) : full(device, [this.#rows, vocabSize], 0),
          Tensor.from(ended, { device }),
          empty(device, [this.#rows, 1], "int32"),
          empty(device, [maxSteps, this.#rows], "int32"),
          ...history.map((rows) => Tensor.from(rows, { device, dtype: "int32" })),
          ...words.map((table) => Tensor.from(table, { device, dtype: "int32" })),
        ]) as [Tensor, Tensor, Tensor, Tensor, Tensor?, Tensor?],
    );
  }

  /** The tokens chosen last, int32 [rows, 1]: the next step's input. */
  get next(): Tensor {
    return this.#next;
  }

  /** The tokens of steps `from` to `to` (exclusive), int32, where they lie: for copies. */
  chosen(from: number, to: number): BufferView {
    return this.#tokens.window(from * this.#rows * 4, (to - from) * this.#rows * 4);
  }

  /** Steps taken. */
  get steps(): number {
    return this.#step;
  }

  /**
   * Appends the choice of the next tokens.
   * @param logits [rows, V]; changed in place by penalties
   * @throws {TypeError} for another shape
   */
  sample(logits: Tensor): void {
    const { vocabSize, doSample, repetitionPenalty, presencePenalty, padToken } = this.#options;
    if (logits.shape.length !== 2 || logits.shape[0] !== this.#rows || logits.shape[1] !== vocabSize) {
      throw new TypeError(
        `Cannot sample: logits [${this.#rows}, ${vocabSize}] are required, received ${
          showShape(logits.shape)
        }`,
      );
    }
    if (this.#history) this.#ban(logits, this.#history);
    const views = {
      logits: logits.view,
      seen: this.#seen.view,
      ended: this.#ended.view,
      next: this.#next.view,
      tokens: this.#tokens.view,
    };
    const params = {
      rows: this.#rows,
      cols: vocabSize,
      step: this.#step++,
      padToken,
      penalty: repetitionPenalty,
      presence: presencePenalty,
    };
    const { device } = logits;
    if (doSample) device.dispatch(sampleTokens, views, { ...params, ...drawParams(this.#options) });
    else device.dispatch(greedyTokens, views, params);
  }

  /** Forbids what may not come next. */
  #ban(logits: Tensor, history: Tensor): void {
    const repeats = this.#options.noRepeatNgramSize > 0;
    if (repeats) this.#banRepeats(logits, history);
    if (this.#words) this.#banWords(logits, history, this.#words, !repeats);
  }

  /** Forbids tokens that would repeat a run. */
  #banRepeats(logits: Tensor, history: Tensor): void {
    const views = { logits: logits.view, history: history.view, next: this.#next.view };
    const size = this.#options.noRepeatNgramSize;
    logits.device.dispatch(banRepeats, views, { ...this.#place(history, true), size });
  }

  /** Forbids the words that are banned in this step. */
  #banWords(logits: Tensor, history: Tensor, table: Tensor, appends: boolean): void {
    const { words, early, steps } = this.#options.banned!;
    const views = { logits: logits.view, history: history.view, next: this.#next.view, words: table.view };
    const first = this.#step < steps ? 0 : early;
    const place = this.#place(history, appends);
    logits.device.dispatch(banWords, views, { ...place, first, count: words.length });
  }

  /** Where the next token goes in `history`, and whether the token before it is still to be appended. */
  #place(history: Tensor, appends: boolean) {
    const capacity = history.shape[1];
    const length = capacity - this.#options.maxSteps + this.#step;
    const rows = { rows: this.#rows, cols: this.#options.vocabSize };
    return { ...rows, length, capacity, appends: appends && this.#step > 0 ? 1 : 0 };
  }

  /**
   * Reads back the tokens of steps `from` to `to` (exclusive): one row of tokens per step.
   * @throws {RangeError} if the logits of a row were not finite
   */
  async read(from: number, to: number): Promise<number[][]> {
    const first = Math.floor(from * this.#rows / 64) * 64; // a copy may begin anywhere, a window at 256 bytes
    const last = to * this.#rows;
    const bytes = await this.#tokens.device.read(this.#tokens.window(first * 4, (last - first) * 4));
    const values = new Int32Array(bytes.buffer, bytes.byteOffset, last - first);
    return Array.from({ length: to - from }, (_, i) => {
      const at = (from + i) * this.#rows - first;
      const tokens = [...values.subarray(at, at + this.#rows)];
      const broken = tokens.indexOf(-1);
      if (broken >= 0) {
        throw new RangeError(
          `Cannot choose the next token: finite logits are required, received others in row ${broken}, step ${
            from + i
          }`,
        );
      }
      return tokens;
    });
  }

  /** Releases its memory. */
  dispose(): void {
    for (const tensor of [this.#seen, this.#ended, this.#next, this.#tokens, this.#history, this.#words]) {
      tensor?.dispose();
    }
  }
}
