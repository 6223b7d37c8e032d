/**
 * Attention of Llama and its relatives: separate projections, rotary positions, query heads that share keys and values.
 * @module
 */

import {
  attendToCache,
  attention,
  concat,
  expand,
  placeHeads,
  type RandomState,
  reshape,
  type Tensor,
} from "../../autograd/mod.ts";
import { forwardJoint, type Projection, type RMSNorm, SubBlock } from "../../nn/mod.ts";
import type { AttentionState } from "../attention_state.ts";
import type { ParameterSource } from "../parameter_source.ts";
import type { LlamaConfig } from "./config.ts";
import { linear, rmsNorm } from "./layers.ts";
import type { RopeTable } from "./rope.ts";

/**
 * Causal self-attention with several heads.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LlamaAttention, LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
 *
 * const config = new LlamaConfig("llama", {
 *   vocabSize: 64,
 *   hiddenSize: 32,
 *   intermediateSize: 48,
 *   numHiddenLayers: 1,
 *   numAttentionHeads: 2,
 *   numKeyValueHeads: 1,
 * });
 * const model = new LlamaForCausalLM(config, { device: await initDevice(), seed: 1 });
 * for (const [path, module] of model.namedModules()) if (module instanceof LlamaAttention) console.log(path);
 * ```
 */
export class LlamaAttention extends SubBlock {
  /** [H D, C] */
  q_proj: Projection;
  /** [Hkv D, C] */
  k_proj: Projection;
  /** [Hkv D, C] */
  v_proj: Projection;
  /** [C, H D] */
  o_proj: Projection;
  /** Norm of each query head, where the architecture has one. */
  q_norm?: RMSNorm;
  /** Norm of each key head. */
  k_norm?: RMSNorm;
  /** Heads of the queries. */
  readonly heads: number;
  /** Heads of keys and values. */
  readonly keyValueHeads: number;
  /** Size of a head. */
  readonly headSize: number;
  /** Factor of the scores. */
  readonly scale: number;
  readonly #window: number | null;
  readonly #layer: number;
  readonly #rope: RopeTable | null;
  readonly #dropout: number;
  readonly #random: RandomState;

  /** @internal `LlamaForCausalLM` makes it. @param rope of this layer; null for none */
  constructor(
    config: LlamaConfig,
    source: ParameterSource,
    random: RandomState,
    layer: number,
    rope: RopeTable | null,
  ) {
    super();
    const { hiddenSize: C, headSize: D, numAttentionHeads: H, keyValueHeads, variant } = config;
    const bias = variant.qkvBias ?? config.attentionBias;
    this.q_proj = linear(source, C, H * D, bias);
    this.k_proj = linear(source, C, keyValueHeads * D, bias);
    this.v_proj = linear(source, C, keyValueHeads * D, bias);
    this.o_proj = linear(source, H * D, C, variant.qkvBias ? false : config.attentionBias);
    if (variant.headNorms) {
      this.q_norm = rmsNorm(source, config, D);
      this.k_norm = rmsNorm(source, config, D);
    }
    this.#dropout = config.attentionDropout;
    this.#random = random;
    this.heads = H;
    this.keyValueHeads = keyValueHeads;
    this.headSize = D;
    this.scale = 1 / Math.sqrt(config.queryPreAttnScalar ?? D);
    this.#window = config.layers[layer].window;
    this.#layer = layer;
    this.#rope = rope;
  }

  /** Size of the last axis. */
  get hiddenSize(): number {
    return this.o_proj.outFeatures;
  }

  /** @internal residual + attention(x), x and residual [B, T, C]. */
  forward(x: Tensor, residual: Tensor | null, state: AttentionState): Tensor {
    const [queries, keys, v] = forwardJoint(x, [this.q_proj, this.k_proj, this.v_proj]);
    const q = this.#normed(queries, this.q_norm); // [B, T, H D]
    const k = this.#normed(keys, this.k_norm); // [B, T, Hkv D]
    const mixed = this.#attend(q, k, v, state, q.storage !== x.storage);
    return this.o_proj.forward(mixed, residual ? { residual } : {});
  }

  /** The heads of x [B, T, h D] through their norm. */
  #normed(x: Tensor, norm: RMSNorm | undefined): Tensor {
    if (!norm) return x;
    const [batch, length, width] = x.shape;
    const heads = reshape(x, [batch, length, width / this.headSize, this.headSize]);
    return reshape(norm.forward(heads), x.shape);
  }

  /** @param ownsQuery whether nothing else reads q: no backward of a projection or a norm reads its result */
  #attend(q: Tensor, k: Tensor, v: Tensor, state: AttentionState, ownsQuery: boolean): Tensor {
    const { mask, documents, positions, past, prefix, cache } = state;
    const [batch, length] = q.shape;
    const store = cache?.layers[this.#layer];
    const placed = placeHeads(q, k, v, {
      headSize: this.headSize,
      rotation: this.#rope && { positions, table: this.#rope.upTo(state.positionEnd ?? past + length) },
      cache: store ? { tensor: store, past } : null,
      overwritesQuery: ownsQuery,
    });
    const options = {
      heads: this.heads,
      keyValueHeads: this.keyValueHeads,
      window: this.#window,
      scale: this.scale,
      attentionMask: mask,
      past,
    };
    if (store) return attendToCache(placed.q, store, options);
    const drops = this.training && this.#dropout > 0;
    const dropout = drops
      ? { p: this.#dropout, rng: this.#random.tensor, call: this.#random.nextCall() }
      : null;
    if (!prefix) return attention(placed.q, placed.kv, { ...options, documents, dropout });
    const before = prefix[this.#layer]; // [NV, 2 Hkv D]
    const rows = expand(reshape(before, [1, ...before.shape]), [batch, ...before.shape]);
    return attention(placed.q, concat([rows, placed.kv], 1), { ...options, dropout });
  }
}
