/**
 * The stack under a language model's head, the same for every architecture: token embedding, virtual tokens, positions,
 * cache, blocks and the last norm. What differs is in the methods that an architecture fills in.
 * @module
 */

import {
  addNoise,
  checkpoint,
  concat,
  type Device,
  DisposedError,
  expand,
  isRecording,
  type RandomState,
  reshape,
  Tensor,
  tidy,
  wantsGrad,
} from "../autograd/mod.ts";
import { noteSetting } from "../autograd/settings.ts";
import { type Embedding, Module } from "../nn/mod.ts";
import { attentionMaskOf, type AttentionState, tensorsOf, withTensors } from "./attention_state.ts";
import type { ModelFacts } from "./facts.ts";
import { KVCache } from "./generation/kv_cache.ts";
import { type DecoderInputs, toIdTensor, type TokenIds } from "./inputs.ts";
import { packingOf, packRows } from "./packed_rows.ts";

/**
 * One block: x [B, T, C] -> [B, T, C]. It frees what backward does not need.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { DecoderBlock } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const blocks: DecoderBlock[] = model.transformer.h;
 * const sizes = blocks.map((block) => [...block.parameters()].reduce((sum, { size }) => sum + size, 0));
 * console.log(sizes); // values of each block, four times the same
 * ```
 */
export interface DecoderBlock extends Module {
  /**
   * Attention and feed-forward, each added to the residual stream.
   * @param isRead false where only what a gradient needs is read, not the result: its last product may be left out
   */
  forward(x: Tensor, state: AttentionState, isRead?: boolean): Tensor;
}

/**
 * Blocks between an embedding and a norm. Properties of the classes below it carry checkpoint names.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { Decoder } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof Decoder) console.log(path);
 * ```
 */
export abstract class Decoder extends Module {
  readonly #facts: ModelFacts;
  readonly #random: RandomState;
  #checkpoints = false;
  #noiseAlpha: number | null = null;

  /** @internal An architecture's class builds its tree after this. @param random the model's, which dropout draws from */
  constructor(facts: ModelFacts, random: RandomState) {
    super();
    this.#facts = facts;
    this.#random = random;
  }

  /** The token embedding, [V, C]. */
  abstract get tokenEmbedding(): Embedding;

  /** @internal The blocks, first to last. */
  protected abstract get blocks(): readonly DecoderBlock[];

  /** @internal The norm after the last block. */
  protected abstract finish(x: Tensor): Tensor;

  /**
   * @internal ids [B, T] -> [B, T, C]; an architecture that scales its embeddings does so here. In train mode with the
   * noise of NEFTune.
   */
  protected embed(ids: Tensor): Tensor {
    const embedded = this.tokenEmbedding.forward(ids);
    const alpha = this.training ? this.#noiseAlpha : null;
    return alpha === null ? embedded : withNoise(embedded, alpha, this.#random);
  }

  /**
   * @internal What enters the first block, from tokens [B, T, C] and positions [B, T] or [1, T]: position embeddings and
   * dropout. The tokens as they are where only attention knows positions.
   */
  protected enter(tokens: Tensor, _positions: Tensor): Tensor {
    return tokens;
  }

  /**
   * Hidden states after the last norm, [B, T, C].
   * @throws {RangeError} for a token id outside the vocabulary, or more tokens than the model has positions for
   * @throws {TypeError} for empty, ragged or differently shaped inputs
   * @throws {DisposedError} after the model's `dispose()`
   */
  forward(inputs: DecoderInputs): { hidden: Tensor; pastKeyValues?: KVCache } {
    const facts = this.#facts;
    const { inputIds, inputsEmbeds } = inputs ?? {};
    const fail = (problem: string) => `Cannot run ${facts.displayName}: ${problem}`;
    if ((inputIds === undefined) === (inputsEmbeds === undefined)) {
      throw new TypeError(fail("either inputIds or inputsEmbeds is required"));
    }
    const [anyOfThem] = this.parameters(); // the embedding may be wrapped
    if (anyOfThem.isDisposed) {
      throw new DisposedError(fail("the model was disposed; load it again"));
    }
    const { device } = this.#random;
    if (this.training) this.#random.advance();
    const given = inputs.pastKeyValues;
    const { promptEmbeds, prefixKeyValues: prefix } = inputs;
    const prompt = promptEmbeds?.shape[0] ?? 0;
    const prefixed = prefix?.[0].shape[0] ?? 0;
    let cache = given;
    try {
      const hidden = tidy(() => {
        const ids = inputIds && toIdTensor("inputIds", inputIds, facts.vocabSize, device);
        const [batch, tokenCount] = (ids ?? inputsEmbeds!).shape;
        const length = prompt + tokenCount;
        const past = (given?.length ?? 0) + prefixed;
        const mayPack = inputs.sequenceIds || inputs.positionIds && !inputs.attentionMask;
        const packing = mayPack ? packingOf(inputs, batch, tokenCount) : null;
        const end = packing?.longest ?? past + length;
        if (end > facts.maxPositions) {
          throw new RangeError(
            `Cannot run ${facts.displayName} on ${end} tokens: at most ${facts.maxPositionsKey} ${facts.maxPositions} are allowed`,
          );
        }
        if (inputs.useCache) cache ??= new KVCache({ facts }, device, batch);
        if (cache && prefix) cache.prefill(prefix);
        const virtual = (cache?.virtualTokens ?? prefixed) + prompt;
        const mask = attentionMaskOf({
          ...{ batch, total: past + length, virtual, cache, device },
          mask: inputs.attentionMask,
        });
        const { positionIds } = inputs;
        const chosen = positionIds
          ? this.#positions(positionIds, batch, tokenCount, prompt, virtual)
          : packing
          ? null
          : countFrom(past, batch, length, device);
        const packed = packing && packRows(packing, { inputs, positions: chosen, mask, rows: batch, device });
        const state: AttentionState = {
          mask: packed ? null : mask,
          documents: packed?.documents ?? null,
          past,
          positions: packed?.positions ?? chosen!,
          positionEnd: positionIds ? this.#endOf(positionIds, virtual) : end,
          prefix: prefix && !cache ? prefix : null,
          cache,
        };
        const tokens = ids ? this.embed(ids) : inputsEmbeds!;
        const embedded = promptEmbeds ? withPrompt(promptEmbeds, tokens) : tokens;
        return this.#blocks(embedded, state, inputsEmbeds);
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

  /** Positions that a caller gave, one row for all or one for each; virtual tokens come before them. */
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
    const positions = toIdTensor("positionIds", ids, this.#facts.maxPositions, this.#random.device);
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

  /** More than every position that a caller gave; what a tensor holds is not known. */
  #endOf(given: TokenIds, virtual: number): number {
    if (given instanceof Tensor) {
      if (!this.#facts.hasDynamicPositions) return this.#facts.maxPositions;
      throw new TypeError(
        "Cannot use positionIds: rows on the host are required, whose longest decides dynamic rotary embeddings, received a tensor",
      );
    }
    return given.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 0) + virtual + 1;
  }

  /** Whether blocks keep their input alone for backward, and compute again what else it needs. In train mode. */
  get gradientCheckpointing(): boolean {
    return this.#checkpoints;
  }

  set gradientCheckpointing(on: boolean) {
    noteSetting(this, "gradientCheckpointing", this.#checkpoints, on);
    this.#checkpoints = on;
  }

  /**
   * NEFTune's alpha: in train mode, token embeddings get uniform noise of ±alpha / sqrt(T C). Null for none.
   * @throws {RangeError} for a number below 0
   */
  get neftuneNoiseAlpha(): number | null {
    return this.#noiseAlpha;
  }

  set neftuneNoiseAlpha(alpha: number | null) {
    if (alpha !== null && !(alpha >= 0 && alpha < Infinity)) {
      throw new RangeError(
        `Cannot set neftuneNoiseAlpha: a number of at least 0 or null is required, received ${alpha}`,
      );
    }
    noteSetting(this, "neftuneNoiseAlpha", this.#noiseAlpha, alpha);
    this.#noiseAlpha = alpha;
  }

  #blocks(embedded: Tensor, state: AttentionState, given: Tensor | undefined): Tensor {
    const checkpoints = this.#checkpoints && this.training && !state.cache && isRecording();
    let x = this.enter(embedded, state.positions); // [B, T, C]
    for (const [layer, block] of this.blocks.entries()) {
      const next = checkpoints ? this.#checkpointed(block, layer, x, state) : block.forward(x, state);
      if (x !== given) x.dispose(); // what a caller gave is the caller's
      x = next;
    }
    return this.finish(x);
  }

  /** A block that keeps its input and the state's tensors. */
  #checkpointed(block: DecoderBlock, layer: number, x: Tensor, state: AttentionState): Tensor {
    const prefix = state.prefix?.[layer];
    const inputs: Record<string, Tensor> = prefix ? { x, prefix } : { x };
    if (!wantsGrad(x, prefix, ...block.parameters())) return block.forward(x, state);
    return checkpoint({
      ...{ name: `block ${layer}`, inputs, constants: tensorsOf(state), random: this.#random },
      body: ({ x, prefix }, constants, again) => {
        const prefixes: Tensor[] = [];
        if (prefix) prefixes[layer] = prefix;
        return block.forward(
          x,
          { ...withTensors(state, constants), prefix: prefix ? prefixes : null },
          !again,
        );
      },
    });
  }
}

/** Embeddings [B, T, C] with the noise of NEFTune in their place. */
function withNoise(embedded: Tensor, alpha: number, random: RandomState): Tensor {
  const [, length, width] = embedded.shape;
  const noisy = addNoise(embedded, alpha / Math.sqrt(length * width), random);
  embedded.dispose();
  return noisy;
}

/** Virtual tokens [NV, C] before every row of tokens [B, T, C]. */
function withPrompt(prompt: Tensor, tokens: Tensor): Tensor {
  const [length, width] = prompt.shape;
  const [batch] = tokens.shape;
  return concat([expand(reshape(prompt, [1, length, width]), [batch, length, width]), tokens], 1);
}

/** Positions past, past + 1, … for every row. */
function countFrom(past: number, batch: number, length: number, device: Device): Tensor {
  const row = Int32Array.from({ length: batch * length }, (_, i) => past + i % length);
  return Tensor.from(row, { shape: [batch, length], device });
}
