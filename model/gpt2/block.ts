/**
 * A block of GPT-2: attention and MLP, each behind a layer norm, each added to the residual stream
 * (`transformers.models.gpt2.modeling_gpt2.GPT2Block`). Properties carry checkpoint names.
 * @module
 */

import { type RandomState, type Tensor, tidy } from "../../autograd/mod.ts";
import {
  type ActivationName,
  activations,
  Dropout,
  fusedActivation,
  type LayerNorm,
  Module,
  type Projection,
  SubBlock,
} from "../../nn/mod.ts";
import type { AttentionState } from "../attention_state.ts";
import type { ParameterSource } from "../parameter_source.ts";
import { GPT2Attention } from "./attention.ts";
import type { GPT2Config } from "./config.ts";
import { conv1d, layerNorm, projectAndAdd } from "./layers.ts";

/**
 * The activation of an MLP as a module.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Activation } from "@peft/webgpu/model";
 * import { Tensor } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * console.log(await new Activation("relu").forward(Tensor.from([-1, 2])).data()); // [0, 2]
 * ```
 */
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

/**
 * Two projections with an activation between.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { GPT2MLP } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof GPT2MLP) console.log(path);
 * ```
 */
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

  /** residual + MLP(x), x and residual [B, T, C]; `isRead` as in `LinearOptions`. */
  forward(x: Tensor, residual: Tensor | null, isRead?: boolean): Tensor {
    const activation = fusedActivation(this.act.activation);
    const inner = activation // [B, T, I]
      ? this.c_fc.forward(x, { activation })
      : this.act.forward(this.c_fc.forward(x));
    return projectAndAdd(this.c_proj, inner, this.dropout, residual, isRead);
  }
}

/**
 * One block.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { GPT2Block } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof GPT2Block) console.log(path);
 * ```
 */
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

  /** @internal x [B, T, C] -> [B, T, C]; the tape keeps what backward needs, the rest is freed. */
  forward(x: Tensor, state: AttentionState, isRead = true): Tensor {
    return tidy(() => {
      const attended = this.attn.forward(this.ln_1.forward(x), x, state);
      const normed = this.ln_2.forward(attended);
      // An adapter around the MLP reads what it computes.
      return this.mlp instanceof GPT2MLP
        ? this.mlp.forward(normed, attended, isRead)
        : (this.mlp as SubBlock).forward(normed, attended);
    });
  }
}
