/**
 * The stack of blocks of GPT-2 (`transformers`' `GPT2Model`).
 * @module
 */

import {
  add,
  concat,
  type Device,
  expand,
  type RandomState,
  reshape,
  Tensor,
  tidy,
} from "../autograd/mod.ts";
import { Dropout, Embedding, type LayerNorm, Module } from "../nn/mod.ts";
import { type AttentionState, attentionState } from "./attention_state.ts";
import { GPT2Block, layerNorm, type ParameterSource } from "./gpt2/block.ts";
import type { GPT2Config } from "./gpt2/config.ts";
import { type AttentionMask, toIdTensor, type TokenIds } from "./inputs.ts";
import { KVCache } from "./generation/kv_cache.ts";

/** Arguments of a forward. */
export interface GPT2Inputs {
  /** [B, T], 0..V-1. */
  inputIds?: TokenIds;
  /** [B, past + T], 1 for tokens and 0 for padding; default all tokens. */
  attentionMask?: AttentionMask;
  /** [B, T]; default counts from the cache's length, padding or not. */
  positionIds?: TokenIds;
  /** Keys and values of earlier tokens; extended in place. */
  pastKeyValues?: KVCache;
  /** Make a cache if none is given; default false. */
  useCache?: boolean;
  /** Embedded tokens [B, T, C] in place of ids. */
  inputsEmbeds?: Tensor;
  /** Virtual tokens [NV, C] before every row: outputs have NV positions more, which mask and labels do not cover. */
  promptEmbeds?: Tensor;
  /** Keys and values of virtual tokens before every row, [NV, 2C] for each layer. */
  prefixKeyValues?: readonly Tensor[];
}

/** The stack of blocks without the head. */
export class GPT2Model extends Module {
  /** Token embedding, [V, C]. */
  wte: Embedding;
  /** Position embedding, [n_positions, C]. */
  wpe: Embedding;
  /** Dropout of the embedded tokens. */
  drop: Dropout;
  /** The blocks. */
  h: GPT2Block[];
  /** The last layer norm. */
  ln_f: LayerNorm;
  readonly #config: GPT2Config;
  readonly #random: RandomState;

  /** @internal `GPT2LMHeadModel` makes it. */
  constructor(config: GPT2Config, source: ParameterSource, random: RandomState) {
    super();
    this.#config = config;
    this.#random = random;
    this.wte = new Embedding(source([config.vocabSize, config.nEmbd], "normal", true));
    this.wpe = new Embedding(source([config.nPositions, config.nEmbd], "normal", true));
    this.drop = new Dropout(config.embdPdrop, random);
    this.h = Array.from({ length: config.nLayer }, (_, i) => new GPT2Block(config, source, random, i));
    this.ln_f = layerNorm(source, config);
  }

  /**
   * Hidden states after the last layer norm, [B, T, C].
   * @throws {RangeError} for a token id outside the vocabulary, or more tokens than n_positions
   * @throws {TypeError} for empty, ragged or differently shaped inputs
   */
  forward(inputs: GPT2Inputs): { hidden: Tensor; pastKeyValues?: KVCache } {
    const config = this.#config;
    const { device } = this.#random;
    const { inputsEmbeds } = inputs;
    if ((inputs.inputIds === undefined) === (inputsEmbeds === undefined)) {
      throw new TypeError("Cannot run GPT-2: either inputIds or inputsEmbeds is required");
    }
    if (this.training) this.#random.advance();
    const given = inputs.pastKeyValues;
    const { promptEmbeds, prefixKeyValues: prefix } = inputs;
    const prompt = promptEmbeds?.shape[0] ?? 0;
    const prefixed = prefix?.[0].shape[0] ?? 0;
    let cache = given;
    try {
      const hidden = tidy(() => {
        const ids = inputs.inputIds && toIdTensor("inputIds", inputs.inputIds, config.vocabSize, device);
        const [batch, tokenCount] = (ids ?? inputsEmbeds!).shape;
        const length = prompt + tokenCount;
        const past = (given?.length ?? 0) + prefixed;
        if (past + length > config.nPositions) {
          throw new RangeError(
            `Cannot run GPT-2 on ${
              past + length
            } tokens: at most n_positions ${config.nPositions} are allowed`,
          );
        }
        if (inputs.useCache) cache ??= new KVCache(config, device, batch);
        if (cache && prefix) cache.prefill(prefix);
        const virtual = (cache?.virtualTokens ?? prefixed) + prompt;
        const state = attentionState({
          ...{ batch, length, past, virtual, cache, device },
          prefix: prefix && !cache ? prefix : null,
          mask: inputs.attentionMask,
        });
        const positions = inputs.positionIds
          ? this.#positions(inputs.positionIds, batch, tokenCount, prompt, virtual)
          : countFrom(past, batch, length, device);
        const tokens = ids ? this.wte.forward(ids) : inputsEmbeds!;
        const embedded = promptEmbeds
          ? concat([
            expand(reshape(promptEmbeds, [1, prompt, config.nEmbd]), [batch, prompt, config.nEmbd]),
            tokens,
          ], 1)
          : tokens;
        return this.#blocks(add(embedded, this.wpe.forward(positions)), state);
      });
      if (cache) {
        cache.length += hidden.shape[1];
        cache.virtualTokens += prompt;
      }
      return { hidden, pastKeyValues: cache };
    } catch (error) {
      if (cache !== given) cache?.dispose();
      throw error;
    }
  }

  /** Positions of a caller, one row for all or one for each; virtual tokens come before them. */
  #positions(given: TokenIds, batch: number, length: number, prompt: number, virtual: number): Tensor {
    let ids = given;
    if (virtual > 0) {
      if (given instanceof Tensor) {
        throw new TypeError(
          "Cannot use positionIds with virtual tokens: rows on the host are required, received a tensor",
        );
      }
      const before = Array.from({ length: prompt }, (_, i) => i);
      ids = given.map((row) => [...before, ...row.map((position) => position + virtual)]);
    }
    const positions = toIdTensor("positionIds", ids, this.#config.nPositions, this.#random.device);
    const [rows, columns] = positions.shape;
    if ((rows !== batch && rows !== 1) || columns !== prompt + length) {
      throw new TypeError(
        `Cannot use positionIds: the shape of inputIds [${batch}, ${length}] is required, received [${rows}, ${
          columns - prompt
        }]`,
      );
    }
    return positions;
  }

  #blocks(embedded: Tensor, state: AttentionState): Tensor {
    let x = this.drop.forward(embedded); // [B, T, C]
    for (const block of this.h) {
      const next = block.forward(x, state);
      x.dispose();
      x = next;
    }
    return this.ln_f.forward(x);
  }
}

/** Positions past, past + 1, … for every row. */
function countFrom(past: number, batch: number, length: number, device: Device): Tensor {
  const row = Int32Array.from({ length: batch * length }, (_, i) => past + i % length);
  return Tensor.from(row, { shape: [batch, length], device });
}
