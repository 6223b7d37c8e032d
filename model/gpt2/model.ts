/**
 * GPT-2 (Radford et al. 2019), the module tree of `transformers.models.gpt2.modeling_gpt2`.
 * Properties carry checkpoint names, so module path = checkpoint key = `targetModules` entry.
 * @module
 */

import type { FolderInput } from "../../io/file_source.ts";
import { Initializer, Linear, type Projection } from "../../nn/mod.ts";
import { CausalLM, type CausalLMOptions } from "../causal_lm.ts";
import { loadModel, type LoadOptions } from "../checkpoint.ts";
import type { Family } from "../family.ts";
import type { GgufLayout } from "../gguf_layout.ts";
import type { DecoderInputs } from "../inputs.ts";
import { type ParameterSource, randomSource } from "../parameter_source.ts";
import { GPT2Config } from "./config.ts";
import { GPT2Model } from "./decoder.ts";
import { GPT2_GGUF } from "./gguf.ts";

/**
 * Options of `GPT2LMHeadModel`.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { GPT2Config, GPT2LMHeadModel, type GPT2Options } from "@peft/webgpu/model";
 *
 * const options: GPT2Options = { device: await initDevice(), seed: 3 };
 * const config = new GPT2Config({ vocabSize: 64, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 });
 * const [a, b] = [new GPT2LMHeadModel(config, options), new GPT2LMHeadModel(config, options)]; // equal weights
 * console.log((await a.lm_head.headWeight()!.data())[0] === (await b.lm_head.headWeight()!.data())[0]); // true
 * ```
 */
export type GPT2Options = CausalLMOptions;
/**
 * Arguments of GPT-2's forward.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import type { GPT2Inputs } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const first: GPT2Inputs = { inputIds: [[5, 6]], useCache: true };
 * const { pastKeyValues } = model.forward(first);
 * console.log(model.forward({ inputIds: [[7]], pastKeyValues }).logits.shape); // [ 1, 1, 768 ]
 * ```
 */
export type GPT2Inputs = DecoderInputs;

/**
 * GPT-2 with a language-model head, tied to the token embedding.
 *
 * @example
 * ```ts
 * import { GPT2Config, GPT2LMHeadModel, initDevice } from "@peft/webgpu";
 *
 * const device = await initDevice();
 * const config = new GPT2Config({ vocabSize: 64, nPositions: 16, nEmbd: 32, nLayer: 1, nHead: 2, bosTokenId: 0, eosTokenId: 0 });
 * const model = new GPT2LMHeadModel(config, { device, seed: 1 }); // random weights; fromPretrained() loads those of a file
 * console.log(model.forward({ inputIds: [[1, 2]] }).logits.shape); // [1, 2, 64]
 * ```
 */
export class GPT2LMHeadModel extends CausalLM<GPT2Config> {
  /** The stack of blocks. */
  transformer: GPT2Model;
  /** Hidden states to logits. */
  lm_head: Projection;

  /** Random weights, Hugging Face's initialisation. @throws {RangeError} for a configuration no GPT-2 can have */
  constructor(config: GPT2Config, options?: CausalLMOptions);
  /** @internal With parameters from `source`. */
  constructor(config: GPT2Config, options: CausalLMOptions, source?: ParameterSource);
  constructor(config: GPT2Config, options: CausalLMOptions = {}, source?: ParameterSource) {
    super(config, options, source);
    const { vocabSize, nEmbd, nLayer, initializerRange: std } = config;
    const { seed, device } = this.random;
    const given = source ?? randomSource(new Initializer(device, seed), std, std / Math.sqrt(2 * nLayer));
    const { stack, head } = this.build(given, (make) => {
      const stack = new GPT2Model(config, make, this.random);
      const tied = config.tieWordEmbeddings ? stack.wte.weight : null;
      return { stack, head: new Linear(tied ?? make([vocabSize, nEmbd], "normal", true)) };
    });
    this.transformer = stack;
    this.lm_head = head;
  }

  /**
   * Loads a folder in Hugging Face's layout, in eval mode.
   * @throws {TypeError} listing every missing, unexpected or mis-shaped tensor, before anything is allocated
   */
  static async load(folder: FolderInput, options: LoadOptions = {}): Promise<GPT2LMHeadModel> {
    return await loadModel(folder, () => GPT2, options);
  }

  /** @internal */
  override async loadGgufFormat(): Promise<void> {
    await import("./gguf.ts");
  }

  /** @internal */
  protected override get ggufLayout(): GgufLayout<GPT2Config> {
    return GPT2_GGUF;
  }

  /** @internal */
  protected get decoder(): GPT2Model {
    return this.transformer;
  }
}

/** Buffers in old checkpoints: the causal mask, and the value of masked scores. */
const BUFFERS = /(^|\.)attn\.(bias|masked_bias)$/;

/** GPT-2, for the list of architectures. */
export const GPT2: Family<GPT2Config, GPT2LMHeadModel> = {
  readConfig: (json) => GPT2Config.fromJSON(json),
  build: (config, options, source) => new GPT2LMHeadModel(config, options, source),
  fileNames: (path) => [path, path.replace(/^transformer\./, "")], // saved from GPT2Model, without the head
  ignores: (name) => BUFFERS.test(name),
  loadGguf: async () => (await import("./gguf.ts")).GPT2_GGUF,
};
