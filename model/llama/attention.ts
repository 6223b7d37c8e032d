/**
 * Attention of Llama and its relatives: separate projections, rotary positions, query heads that share keys and values.
 * @module
 */

import {
  attention,
  concat,
  expand,
  type RandomState,
  reshape,
  rotary,
  slice,
  type Tensor,
  writeRows,
} from "../../autograd/mod.ts";
import { type Projection, type RMSNorm, SubBlock } from "../../nn/mod.ts";
import type { AttentionState } from "../attention_state.ts";
import type { KVCache } from "../generation/kv_cache.ts";
import type { ParameterSource } from "../parameter_source.ts";
import type { LayerPlan, LlamaConfig } from "./config.ts";
import { linear, rmsNorm } from "./layers.ts";
import type { RopeTable } from "./rope.ts";

/** Causal self-attention with several heads. */
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
  readonly #plan: LayerPlan;
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
    this.#plan = config.layers[layer];
    this.#layer = layer;
    this.#rope = rope;
  }

  /** Size of the last axis. */
  get hiddenSize(): number {
    return this.o_proj.outFeatures;
  }

  /** @internal residual + attention(x), x and residual [B, T, C]. */
  forward(x: Tensor, residual: Tensor | null, state: AttentionState): Tensor {
    const q = this.#place(this.q_proj.forward(x), this.q_norm, state); // [B, T, H D]
    const k = this.#place(this.k_proj.forward(x), this.k_norm, state); // [B, T, Hkv D]
    const own = concat([k, this.v_proj.forward(x)], 2); // [B, T, 2 Hkv D]
    const mixed = this.#attend(q, own, state);
    return this.o_proj.forward(mixed, residual ? { residual } : {});
  }

  /** Heads of x [B, T, h D] after their norm, at their positions. */
  #place(x: Tensor, norm: RMSNorm | undefined, { positions, past }: AttentionState): Tensor {
    const [batch, length, width] = x.shape;
    const heads = norm ? norm.forward(reshape(x, [batch, length, width / this.headSize, this.headSize])) : x;
    const flat = norm ? reshape(heads, x.shape) : heads;
    return this.#rope ? rotary(flat, positions, this.#rope.upTo(past + length)) : flat;
  }

  #attend(q: Tensor, own: Tensor, state: AttentionState): Tensor {
    const { mask, past, prefix, cache } = state;
    const [batch, length, width] = own.shape;
    let keyValues = own;
    if (cache) keyValues = extend(cache, this.#layer, own, past);
    else if (prefix) {
      const [virtual] = prefix[this.#layer].shape;
      const rows = expand(reshape(prefix[this.#layer], [1, virtual, width]), [batch, virtual, width]);
      keyValues = concat([rows, own], 1);
    }
    const { window } = this.#plan;
    if (window !== null && past + length > window) {
      throw new RangeError(
        `Cannot run attention with a window of ${window} tokens on ${
          past + length
        }: longer sequences are not supported yet`,
      );
    }
    const drops = this.training && this.#dropout > 0 && !cache;
    return attention(q, this.#shared(keyValues), {
      heads: this.heads,
      scale: this.scale,
      attentionMask: mask,
      dropout: drops ? { p: this.#dropout, rng: this.#random.tensor, call: this.#random.nextCall() } : null,
      past,
    });
  }

  /** Keys and values [B, T, 2 Hkv D] for each query head, [B, T, 2 H D]. */
  #shared(keyValues: Tensor): Tensor {
    const group = this.heads / this.keyValueHeads;
    if (group === 1) return keyValues;
    const [batch, length] = keyValues.shape;
    const grouped = [batch, length, 2 * this.keyValueHeads, 1, this.headSize];
    const wide = expand(reshape(keyValues, grouped), [...grouped.slice(0, 3), group, this.headSize]);
    return reshape(wide, [batch, length, 2 * this.heads * this.headSize]);
  }
}

/** Puts keys and values of new tokens into the cache, and gives all of them: [B, past + T, 2 Hkv D]. */
function extend(cache: KVCache, layer: number, own: Tensor, past: number): Tensor {
  const [batch, length, width] = own.shape;
  const store = cache.layers[layer];
  for (let b = 0; b < batch; b++) {
    writeRows(store, reshape(slice(own, 0, b, b + 1), [length, width]), b * cache.capacity + past);
  }
  return slice(store, 1, 0, past + length);
}
