/**
 * A block of GPT-2: attention and MLP, each behind a layer norm, each added to the residual stream
 * (`transformers.models.gpt2.modeling_gpt2.GPT2Block`). Properties carry checkpoint names.
 * @module
 */

import { add, type RandomState, type Shape, type Tensor, tidy } from "../../autograd/mod.ts";
import {
  type ActivationName,
  activations,
  Conv1D,
  Dropout,
  fusedActivation,
  type Initializer,
  LayerNorm,
  Module,
  type Parameter,
  type Projection,
  SubBlock,
} from "../../nn/mod.ts";
import type { GPT2Config } from "./config.ts";
import { attend, type AttentionState } from "../attention_state.ts";

/** Gives each parameter of a model under construction: drawn at random, or room for a checkpoint's values. */
export type ParameterSource = (
  shape: Shape,
  init: "normal" | "residual" | "zeros" | "ones",
  matrix: boolean,
) => Parameter;

/** Draws parameters as `transformers` initialises GPT-2: N(0, 0.02), narrower where blocks add to the stream. */
export function randomSource(init: Initializer, config: GPT2Config): ParameterSource {
  const std = config.initializerRange;
  return (shape, kind) => {
    if (kind === "zeros" || kind === "ones") return init.constant(shape, kind === "ones" ? 1 : 0);
    return init.normal(shape, kind === "residual" ? std / Math.sqrt(2 * config.nLayer) : std);
  };
}

/** @internal A Conv1D with a bias of zeros. */
function conv1d(source: ParameterSource, inFeatures: number, outFeatures: number, residual = false): Conv1D {
  const weight = source([inFeatures, outFeatures], residual ? "residual" : "normal", true);
  return new Conv1D(weight, source([outFeatures], "zeros", false));
}

/** @internal A LayerNorm that changes nothing yet. */
export function layerNorm(source: ParameterSource, config: GPT2Config): LayerNorm {
  const shape = [config.nEmbd];
  return new LayerNorm(source(shape, "ones", false), source(shape, "zeros", false), config.layerNormEpsilon);
}

/** residual + drop(projection(x)), in the projection's own kernel where dropout is inactive; null adds nothing. */
function projectAndAdd(projection: Projection, x: Tensor, drop: Dropout, residual: Tensor | null): Tensor {
  if (!drop.isActive) return projection.forward(x, residual ? { residual } : {});
  const y = drop.forward(projection.forward(x));
  return residual ? add(residual, y) : y;
}

/** Causal self-attention with several heads. */
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
  /** Factor of the scores. */
  readonly scale: number;
  /** Which block it is in, from 0. */
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
    const mixed = attend(qkv, this.heads, this.scale, this.layer, this.attn_dropout, state); // [B, T, C]
    return projectAndAdd(this.c_proj, mixed, this.resid_dropout, residual);
  }
}

/** The activation of an MLP, as a module of its own. */
export class Activation extends Module {
  /** `activation` is Hugging Face's name. */
  constructor(readonly activation: ActivationName) {
    super();
  }

  /** x [...] -> [...]. */
  forward(x: Tensor): Tensor {
    return activations[this.activation](x);
  }
}

/** Two projections with an activation between. */
export class GPT2MLP extends SubBlock {
  /** [C, I] */
  c_fc: Projection;
  /** [I, C] */
  c_proj: Projection;
  /** Between the projections. */
  act: Activation;
  /** Dropout of the output. */
  dropout: Dropout;

  /** @internal `GPT2LMHeadModel` makes it. */
  constructor(config: GPT2Config, source: ParameterSource, random: RandomState) {
    super();
    this.c_fc = conv1d(source, config.nEmbd, config.innerSize);
    this.c_proj = conv1d(source, config.innerSize, config.nEmbd, true);
    this.act = new Activation(config.activationFunction);
    this.dropout = new Dropout(config.residPdrop, random);
  }

  /** Size of the last axis. */
  get hiddenSize(): number {
    return this.c_proj.outFeatures;
  }

  /** residual + MLP(x), x and residual [B, T, C]. */
  forward(x: Tensor, residual: Tensor | null): Tensor {
    const activation = fusedActivation(this.act.activation);
    const inner = activation // [B, T, I]
      ? this.c_fc.forward(x, { activation })
      : this.act.forward(this.c_fc.forward(x));
    return projectAndAdd(this.c_proj, inner, this.dropout, residual);
  }
}

/** One block. */
export class GPT2Block extends Module {
  /** Before the attention. */
  ln_1: LayerNorm;
  /** Attention. */
  attn: GPT2Attention;
  /** Before the MLP. */
  ln_2: LayerNorm;
  /** The MLP. */
  mlp: GPT2MLP;

  /** @internal `GPT2LMHeadModel` makes it. */
  constructor(config: GPT2Config, source: ParameterSource, random: RandomState, layer: number) {
    super();
    this.ln_1 = layerNorm(source, config);
    this.attn = new GPT2Attention(config, source, random, layer);
    this.ln_2 = layerNorm(source, config);
    this.mlp = new GPT2MLP(config, source, random);
  }

  /** @internal x [B, T, C] -> [B, T, C]; what backward needs stays with the tape, the rest is freed. */
  forward(x: Tensor, state: AttentionState): Tensor {
    return tidy(() => {
      const attended = this.attn.forward(this.ln_1.forward(x), x, state);
      return this.mlp.forward(this.ln_2.forward(attended), attended);
    });
  }
}
