/**
 * The stack of blocks of GPT-2 (`transformers`' `GPT2Model`).
 * @module
 */

import { add, type RandomState, type Tensor } from "../../autograd/mod.ts";
import { Dropout, Embedding, type LayerNorm } from "../../nn/mod.ts";
import { Decoder } from "../decoder.ts";
import type { ParameterSource } from "../parameter_source.ts";
import { GPT2Block } from "./block.ts";
import type { GPT2Config } from "./config.ts";
import { layerNorm } from "./layers.ts";

/**
 * The stack of blocks without the head.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM } from "@peft/webgpu";
 * import { GPT2Model } from "@peft/webgpu/model";
 *
 * const model = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * for (const [path, module] of model.namedModules()) if (module instanceof GPT2Model) console.log(path);
 * ```
 */
export class GPT2Model extends Decoder {
  /** Token embedding, [V, C]. */
  wte: Embedding;
  /** Position embedding, [n_positions, C]. */
  wpe: Embedding;
  /** Dropout of the embedded tokens. */
  drop: Dropout;
  /** The blocks. */
  h: GPT2Block[];
  /** The last layer norm. */
  ln_f: LayerNorm;

  /** @internal `GPT2LMHeadModel` makes it. */
  constructor(config: GPT2Config, source: ParameterSource, random: RandomState) {
    super(config.facts, random);
    this.wte = new Embedding(source([config.vocabSize, config.nEmbd], "normal", true));
    this.wpe = new Embedding(source([config.nPositions, config.nEmbd], "normal", true));
    this.drop = new Dropout(config.embdPdrop, random);
    this.h = Array.from({ length: config.nLayer }, (_, i) => new GPT2Block(config, source, random, i));
    this.ln_f = layerNorm(source, config);
  }

  /** The token embedding, [V, C]. */
  get tokenEmbedding(): Embedding {
    return this.wte;
  }

  /** @internal */
  protected get blocks(): readonly GPT2Block[] {
    return this.h;
  }

  /** @internal Tokens and positions added, with dropout. */
  protected override enter(tokens: Tensor, positions: Tensor): Tensor {
    return this.drop.forward(add(tokens, this.wpe.forward(positions)));
  }

  /** @internal */
  protected finish(x: Tensor): Tensor {
    return this.ln_f.forward(x);
  }
}
