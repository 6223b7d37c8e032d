/**
 * GPT-2's attention: queries, keys and values from one projection.
 * @module
 */

import {
  cachedAttention,
  causalSelfAttention,
  prefixedAttention,
  type RandomState,
  type Tensor,
} from "../../autograd/mod.ts";
import { Dropout, type Projection, SubBlock } from "../../nn/mod.ts";
import type { AttentionState } from "../attention_state.ts";
import type { ParameterSource } from "../parameter_source.ts";
import type { GPT2Config } from "./config.ts";
import { conv1d, projectAndAdd } from "./layers.ts";

/**
 * Causal self-attention with several heads.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { GPT2Attention } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof GPT2Attention) console.log(path);
 * ```
 */
export class GPT2Attention extends SubBlock {
  /** [C, 3C]: queries, keys and values. */
  c_attn: Projection;
  /** [C, C] */
  c_proj: Projection;
  /** Dropout of attention probabilities. */
  attn_dropout: Dropout;
  /** Dropout of the output. */
  resid_dropout: Dropout;
  /** Number of heads. */
  readonly heads: number;
  /** What scores are multiplied by. */
  readonly scale: number;
  /** Number of its block, from 0. */
  readonly layer: number;

  /** @internal `GPT2LMHeadModel` makes it. */
  constructor(config: GPT2Config, source: ParameterSource, random: RandomState, layer: number) {
    super();
    this.c_attn = conv1d(source, config.nEmbd, 3 * config.nEmbd);
    this.c_proj = conv1d(source, config.nEmbd, config.nEmbd, true);
    this.attn_dropout = new Dropout(config.attnPdrop, random);
    this.resid_dropout = new Dropout(config.residPdrop, random);
    this.heads = config.nHead;
    this.layer = layer;
    const headSize = config.nEmbd / config.nHead;
    this.scale = (config.scaleAttnWeights ? 1 / Math.sqrt(headSize) : 1) /
      (config.scaleAttnByInverseLayerIdx ? layer + 1 : 1);
  }

  /** Size of the last axis. */
  get hiddenSize(): number {
    return this.c_proj.outFeatures;
  }

  /** @internal residual + attention(x), x and residual [B, T, C]. */
  forward(x: Tensor, residual: Tensor | null, state: AttentionState): Tensor {
    const qkv = this.c_attn.forward(x); // [B, T, 3C]
    const { heads, scale, layer } = this;
    const { cache, mask: attentionMask, past } = state;
    const mixed = cache // [B, T, C]
      ? cachedAttention(qkv, cache.layers[layer], { heads, scale, attentionMask, past })
      : attend(qkv, heads, scale, layer, this.attn_dropout, state);
    return projectAndAdd(this.c_proj, mixed, this.resid_dropout, residual);
  }
}

/** Attention of qkv [B, T, 3C] to itself, and to the prefix of every row if there is one; [B, T, C]. */
function attend(
  qkv: Tensor,
  heads: number,
  scale: number,
  layer: number,
  drop: Dropout,
  { mask, documents, past, prefix }: AttentionState,
): Tensor {
  const dropout = drop.isActive ? { p: drop.p, rng: drop.random.tensor, call: drop.random.nextCall() } : null;
  const options = { heads, scale, attentionMask: mask, dropout };
  return prefix
    ? prefixedAttention(qkv, prefix[layer], { ...options, past })
    : causalSelfAttention(qkv, { ...options, documents });
}
