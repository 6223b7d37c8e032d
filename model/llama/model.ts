/**
 * Llama (Touvron et al. 2023, arXiv:2302.13971) and its relatives: Mistral, Qwen2 and 3, Gemma 3, SmolLM3. One module tree,
 * whose differences are data (`variants.ts`). Properties carry checkpoint names.
 * @module
 */

import { Initializer, Linear, type Projection } from "../../nn/mod.ts";
import { CausalLM, type CausalLMOptions } from "../causal_lm.ts";
import type { Family } from "../family.ts";
import type { GgufLayout } from "../gguf_layout.ts";
import { type ParameterSource, randomSource } from "../parameter_source.ts";
import { LlamaConfig } from "./config.ts";
import { LlamaModel } from "./decoder.ts";
import { LLAMA_GGUF } from "./gguf.ts";

/**
 * Llama or a relative with a language-model head.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
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
 * console.log(model.forward({ inputIds: [[1, 2]] }).logits.shape); // [1, 2, 64]
 * ```
 */
export class LlamaForCausalLM extends CausalLM<LlamaConfig> {
  /** The stack of blocks. */
  model: LlamaModel;
  /** Hidden states to logits. */
  lm_head: Projection;

  /** Random weights, Hugging Face's initialisation. @throws {RangeError} for a configuration that cannot be run */
  constructor(config: LlamaConfig, options?: CausalLMOptions);
  /** @internal With parameters from `source`. */
  constructor(config: LlamaConfig, options: CausalLMOptions, source?: ParameterSource);
  constructor(config: LlamaConfig, options: CausalLMOptions = {}, source?: ParameterSource) {
    super(config, options, source);
    const { vocabSize, hiddenSize, initializerRange } = config;
    const { seed, device } = this.random;
    const given = source ?? randomSource(new Initializer(device, seed), initializerRange);
    const { stack, head } = this.build(given, (make) => {
      const stack = new LlamaModel(config, make, this.random);
      const tied = config.tieWordEmbeddings ? stack.embed_tokens.weight : null;
      return { stack, head: new Linear(tied ?? make([vocabSize, hiddenSize], "normal", true)) };
    });
    this.model = stack;
    this.lm_head = head;
  }

  /** @internal */
  override async loadGgufFormat(): Promise<void> {
    await import("./gguf.ts");
  }

  /** @internal */
  protected override get ggufLayout(): GgufLayout<LlamaConfig> {
    return LLAMA_GGUF;
  }

  /** @internal */
  protected get decoder(): LlamaModel {
    return this.model;
  }

  /** Frees the memory of every parameter. */
  override dispose(): void {
    super.dispose();
    this.model.freeTables();
  }
}

/** The family, for the list of architectures. */
export const LLAMA: Family<LlamaConfig, LlamaForCausalLM> = {
  readConfig: (json) => LlamaConfig.fromJSON(json),
  build: (config, options, source) => new LlamaForCausalLM(config, options, source),
  fileNames: (path) => [path, path.replace(/^model\./, "")], // saved from LlamaModel, without the head
  loadGguf: async () => (await import("./gguf.ts")).LLAMA_GGUF,
  ignores: (name) => /rotary_emb\.inv_freq$/.test(name), // a buffer in old files
};
