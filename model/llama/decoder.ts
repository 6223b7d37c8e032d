/**
 * The stack of blocks of Llama and its relatives (`transformers`' `LlamaModel`).
 * @module
 */

import { type RandomState, scale, type Tensor } from "../../autograd/mod.ts";
import { Embedding, type RMSNorm } from "../../nn/mod.ts";
import { Decoder } from "../decoder.ts";
import type { ParameterSource } from "../parameter_source.ts";
import { LlamaBlock } from "./block.ts";
import type { LlamaConfig } from "./config.ts";
import { rmsNorm } from "./layers.ts";
import { RopeTable } from "./rope.ts";

/**
 * The stack of blocks without the head.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { LlamaModel, LlamaConfig, LlamaForCausalLM } from "@peft/webgpu/model";
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
 * for (const [path, module] of model.namedModules()) if (module instanceof LlamaModel) console.log(path);
 * ```
 */
export class LlamaModel extends Decoder {
  /** Token embedding, [V, C]. */
  embed_tokens: Embedding;
  /** The blocks. */
  layers: LlamaBlock[];
  /** The last norm. */
  norm: RMSNorm;
  readonly #ropes: readonly RopeTable[];
  readonly #embeddingScale: number;

  /** @internal `LlamaForCausalLM` makes it. */
  constructor(config: LlamaConfig, source: ParameterSource, random: RandomState) {
    super(config.facts, random);
    const { full, sliding } = config.rope;
    const tableOf = (parameters: typeof full) =>
      new RopeTable(parameters, config.headSize, config.maxPositionEmbeddings, random.device);
    const everywhere = tableOf(full);
    const tables = { full: everywhere, sliding: sliding === full ? everywhere : tableOf(sliding) };
    this.#ropes = [...new Set(Object.values(tables))];
    this.#embeddingScale = config.variant.gemma ? Math.fround(Math.sqrt(config.hiddenSize)) : 1;
    this.embed_tokens = new Embedding(source([config.vocabSize, config.hiddenSize], "normal", true));
    this.layers = config.layers.map(({ rope }, i) =>
      new LlamaBlock(config, source, random, i, rope && tables[rope])
    );
    this.norm = rmsNorm(source, config);
  }

  /** The token embedding, [V, C]. */
  get tokenEmbedding(): Embedding {
    return this.embed_tokens;
  }

  /** @internal */
  protected get blocks(): readonly LlamaBlock[] {
    return this.layers;
  }

  /** @internal Gemma scales its embeddings. */
  protected override embed(ids: Tensor): Tensor {
    const embedded = super.embed(ids);
    return this.#embeddingScale === 1 ? embedded : scale(embedded, this.#embeddingScale);
  }

  /** @internal */
  protected finish(x: Tensor): Tensor {
    return this.norm.forward(x);
  }

  /** @internal Frees the tables of angles; a later forward makes them again. */
  freeTables(): void {
    for (const rope of this.#ropes) rope.dispose();
  }
}
