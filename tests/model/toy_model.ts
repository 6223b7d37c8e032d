/**
 * An architecture that the library does not know, with names and sizes unlike GPT-2's: what a contributor writes.
 * @module
 */

import {
  attention,
  cachedAttention,
  causalSelfAttention,
  concat,
  expand,
  type RandomState,
  reshape,
  slice,
  type Tensor,
  tidy,
} from "../../autograd/mod.ts";
import {
  activations,
  Embedding,
  Initializer,
  LayerNorm,
  Linear,
  Module,
  type Projection,
} from "../../nn/mod.ts";
import type { AttentionState } from "../../model/attention_state.ts";
import { CausalLM, type CausalLMOptions } from "../../model/causal_lm.ts";
import { Decoder } from "../../model/decoder.ts";
import type { ModelConfig, ModelFacts } from "../../model/facts.ts";
import type { Family } from "../../model/family.ts";
import { type ParameterSource, randomSource } from "../../model/parameter_source.ts";

/** Fields of the toy's config.json. */
export class ToyConfig implements ModelConfig {
  readonly modelType = "toy";
  nameOrPath: string | null = null;
  readonly words: number;
  readonly width: number;
  readonly depth: number;
  readonly heads: number;

  constructor({ words = 29, width = 24, depth = 2, heads = 3 }: Record<string, unknown> = {}) {
    [this.words, this.width, this.depth, this.heads] = [words, width, depth, heads].map(Number);
  }

  get facts(): ModelFacts {
    return {
      modelType: "toy",
      displayName: "Toy",
      vocabSize: this.words,
      hiddenSize: this.width,
      numLayers: this.depth,
      numHeads: this.heads,
      numKeyValueHeads: this.heads,
      headSize: this.width / this.heads,
      maxPositions: 48,
      maxPositionsKey: "longest",
      eosTokenIds: [1],
      padTokenId: null,
    };
  }

  toJSON(): Record<string, unknown> {
    const { words, width, depth, heads } = this;
    return { model_type: "toy", words, width, depth, heads };
  }
}

class ToyBlock extends Module {
  before: LayerNorm;
  mix: Projection;
  out: Projection;
  up: Projection;
  down: Projection;

  constructor({ width }: ToyConfig, source: ParameterSource, readonly heads: number, readonly layer: number) {
    super();
    const linear = (to: number, from: number) => new Linear(source([to, from], "normal", true));
    this.before = new LayerNorm(source([width], "ones", false), source([width], "zeros", false));
    this.mix = linear(3 * width, width);
    this.out = linear(width, width);
    this.up = linear(2 * width, width);
    this.down = linear(width, 2 * width);
  }

  /** Attention and MLP side by side, both from one norm. */
  forward(x: Tensor, state: AttentionState): Tensor {
    return tidy(() => {
      const normed = this.before.forward(x);
      const attended = this.out.forward(this.#attend(this.mix.forward(normed), state), { residual: x });
      return this.down.forward(activations.silu(this.up.forward(normed)), { residual: attended });
    });
  }

  #attend(qkv: Tensor, { cache, mask, documents, past, prefix }: AttentionState): Tensor {
    const [batch, , width] = qkv.shape;
    const scale = 1 / Math.sqrt(width / 3 / this.heads);
    const options = { heads: this.heads, scale, attentionMask: mask };
    if (cache) return cachedAttention(qkv, cache.layers[this.layer], { ...options, past });
    if (!prefix) return causalSelfAttention(qkv, { ...options, documents, dropout: null });
    const [virtual, wide] = prefix[this.layer].shape;
    const before = expand(reshape(prefix[this.layer], [1, virtual, wide]), [batch, virtual, wide]);
    const own = slice(qkv, 2, width / 3, width);
    return attention(slice(qkv, 2, 0, width / 3), concat([before, own], 1), {
      ...options,
      dropout: null,
      past,
    });
  }
}

class ToyStack extends Decoder {
  words: Embedding;
  layers: ToyBlock[];
  after: LayerNorm;

  constructor(config: ToyConfig, source: ParameterSource, random: RandomState) {
    super(config.facts, random);
    const { words, width, depth, heads } = config;
    this.words = new Embedding(source([words, width], "normal", true));
    this.layers = Array.from({ length: depth }, (_, i) => new ToyBlock(config, source, heads, i));
    this.after = new LayerNorm(source([width], "ones", false), source([width], "zeros", false));
  }

  get tokenEmbedding(): Embedding {
    return this.words;
  }

  protected get blocks(): readonly ToyBlock[] {
    return this.layers;
  }

  protected finish(x: Tensor): Tensor {
    return this.after.forward(x);
  }
}

/** A decoder with parallel blocks, no position embedding, and a head of its own. */
export class ToyForCausalLM extends CausalLM<ToyConfig> {
  body: ToyStack;
  lm_head: Projection;

  constructor(config: ToyConfig, options: CausalLMOptions = {}, source?: ParameterSource) {
    super(config, options, source);
    const given = source ?? randomSource(new Initializer(this.device, this.random.seed), 0.3);
    const { stack, head } = this.build(given, (make) => ({
      stack: new ToyStack(config, make, this.random),
      head: new Linear(make([config.words, config.width], "normal", true)),
    }));
    this.body = stack;
    this.lm_head = head;
  }

  protected get decoder(): ToyStack {
    return this.body;
  }
}

/** The toy, as `architectures.ts` would list it. */
export const TOY: Family<ToyConfig, ToyForCausalLM> = {
  readConfig: (json) => new ToyConfig(json),
  build: (config, options, source) => new ToyForCausalLM(config, options, source),
  fileNames: (path) => [path, path.replace(/^body\./, "stack.")],
  ignores: (name) => name.endsWith(".counter"),
};
