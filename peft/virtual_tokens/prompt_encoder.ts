/**
 * Where virtual tokens come from: a table, or a table followed by a small network (`peft`'s `PromptEmbedding`,
 * `PrefixEncoder` and `PromptEncoder`). Properties carry `peft`'s names.
 * @module
 */

import { noGrad, relu, tanh, type Tensor } from "../../autograd/mod.ts";
import type { BidirectionalLstm } from "./lstm.ts";
import { Embedding, type Initializer, Linear, Module, type Parameter } from "../../nn/mod.ts";

/**
 * Virtual tokens as a table, with or without a network after it.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, PromptTuningConfig } from "@peft/webgpu";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new PromptTuningConfig({ numVirtualTokens: 4 }));
 * console.log(model.prompt_encoder?.get("default")?.embedding.weight.shape); // [ 4, 128 ]
 * ```
 */
export class VirtualTokenEncoder extends Module {
  /** One row per virtual token. */
  embedding: Embedding;
  /** The network's linear layers at the places they have in `torch.nn.Sequential`; others are activations. */
  transform: (Linear | null)[] | null = null;
  /** A recurrent network before `mlp_head`. */
  lstm_head: BidirectionalLstm | null = null;
  /** The same for P-tuning. */
  mlp_head: (Linear | null)[] | null = null;
  readonly #activation: (x: Tensor) => Tensor;

  /** `name` is the network's property; `lstm` comes before it. */
  constructor(
    table: Parameter,
    name?: "transform" | "mlp_head",
    layers: readonly Linear[] = [],
    lstm: BidirectionalLstm | null = null,
  ) {
    super();
    this.embedding = new Embedding(table);
    this.lstm_head = lstm;
    this.#activation = name === "transform" ? tanh : relu;
    if (name) this[name] = layers.flatMap((layer, i) => i === 0 ? [layer] : [null, layer]);
  }

  /** Whether the model sees the table itself. */
  get isPlain(): boolean {
    return !this.transform && !this.mlp_head;
  }

  /** What the model sees, [NV, width]. */
  forward(): Tensor {
    const layers = (this.transform ?? this.mlp_head ?? []).filter((layer) => layer !== null);
    let x: Tensor = this.lstm_head ? this.lstm_head.forward(this.embedding.weight) : this.embedding.weight;
    layers.forEach((layer, i) => {
      x = layer.forward(i === 0 ? x : this.#activation(x));
    });
    return x;
  }

  /** A copy of the same values, outside the gradient graph. */
  snapshot(): Tensor {
    return noGrad(() => this.isPlain ? this.embedding.weight.copy() : this.forward());
  }
}

/** A linear layer with PyTorch's initial values. */
export function torchLinear(init: Initializer, inFeatures: number, outFeatures: number): Linear {
  const bound = 1 / Math.sqrt(inFeatures);
  return new Linear(init.uniform([outFeatures, inFeatures], bound), init.uniform([outFeatures], bound));
}
