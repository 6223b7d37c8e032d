/**
 * A block of Llama and its relatives: attention and a gated MLP. Properties carry checkpoint names.
 * @module
 */

import { type RandomState, type Tensor, tidy } from "../../autograd/mod.ts";
import {
  type ActivationName,
  gatedForward,
  Module,
  type Projection,
  type RMSNorm,
  SubBlock,
} from "../../nn/mod.ts";
import type { AttentionState } from "../attention_state.ts";
import type { ParameterSource } from "../parameter_source.ts";
import { LlamaAttention } from "./attention.ts";
import type { LlamaConfig } from "./config.ts";
import { linear, rmsNorm } from "./layers.ts";
import type { RopeTable } from "./rope.ts";

/**
 * down(act(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202).
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LlamaMLP, LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
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
 * for (const [path, module] of model.namedModules()) if (module instanceof LlamaMLP) console.log(path);
 * ```
 */
export class LlamaMLP extends SubBlock {
  /** [I, C] */
  gate_proj: Projection;
  /** [I, C] */
  up_proj: Projection;
  /** [C, I] */
  down_proj: Projection;
  /** The activation of the gate. */
  readonly activation: ActivationName;

  /** @internal `LlamaForCausalLM` makes it. */
  constructor(config: LlamaConfig, source: ParameterSource) {
    super();
    const { hiddenSize: C, intermediateSize: I, variant } = config;
    const bias = variant.mlpBias === true && config.mlpBias;
    this.gate_proj = linear(source, C, I, bias);
    this.up_proj = linear(source, C, I, bias);
    this.down_proj = linear(source, I, C, bias);
    this.activation = config.hiddenAct;
  }

  /** Size of the last axis. */
  get hiddenSize(): number {
    return this.down_proj.outFeatures;
  }

  /** residual + MLP(x), x and residual [B, T, C]; `isRead` as in `LinearOptions`. */
  forward(x: Tensor, residual: Tensor | null, isRead?: boolean): Tensor {
    const inner = gatedForward(this.gate_proj, this.up_proj, x, this.activation); // [B, T, I]
    return this.down_proj.forward(inner, { residual, isRead });
  }
}

/**
 * One block.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LlamaBlock, LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
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
 * for (const [path, module] of model.namedModules()) if (module instanceof LlamaBlock) console.log(path);
 * ```
 */
export class LlamaBlock extends Module {
  /** Attention. */
  self_attn: LlamaAttention;
  /** The MLP. */
  mlp: LlamaMLP;
  /** Before the attention. */
  input_layernorm: RMSNorm;
  /** Before the MLP; in Gemma after the attention. */
  post_attention_layernorm: RMSNorm;
  /** Gemma: before the MLP. */
  pre_feedforward_layernorm?: RMSNorm;
  /** Gemma: after the MLP. */
  post_feedforward_layernorm?: RMSNorm;

  /** @internal `LlamaForCausalLM` makes it. */
  constructor(
    config: LlamaConfig,
    source: ParameterSource,
    random: RandomState,
    layer: number,
    rope: RopeTable | null,
  ) {
    super();
    this.self_attn = new LlamaAttention(config, source, random, layer, rope);
    this.mlp = new LlamaMLP(config, source);
    this.input_layernorm = rmsNorm(source, config);
    this.post_attention_layernorm = rmsNorm(source, config);
    if (config.variant.gemma) {
      this.pre_feedforward_layernorm = rmsNorm(source, config);
      this.post_feedforward_layernorm = rmsNorm(source, config);
    }
  }

  /** @internal x [B, T, C] -> [B, T, C]; what backward needs stays with the tape, the rest is freed. */
  forward(x: Tensor, state: AttentionState, isRead = true): Tensor {
    const { pre_feedforward_layernorm: before, post_feedforward_layernorm: after } = this;
    return tidy(() => {
      const normed = this.input_layernorm.forward(x);
      if (!before || !after) {
        const attended = this.self_attn.forward(normed, x, state);
        const inner = this.post_attention_layernorm.forward(attended);
        // An adapter around the MLP reads what it computes.
        return this.mlp instanceof LlamaMLP
          ? this.mlp.forward(inner, attended, isRead)
          : (this.mlp as SubBlock).forward(inner, attended);
      }
      const attended = this.self_attn.forwardNormed(normed, x, this.post_attention_layernorm, state);
      return this.mlp.forwardNormed(before.forward(attended), attended, after);
    });
  }
}
