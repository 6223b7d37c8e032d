/**
 * Initial values of virtual tokens, the networks that make them, and the inputs that a model takes them as.
 * @module
 */

import {
  embedding,
  HostRandom,
  noGrad,
  type RandomState,
  slice,
  Tensor,
  tidy,
  untracked,
} from "../../autograd/mod.ts";
import { Dropout, type Initializer, Parameter } from "../../nn/mod.ts";
import { refuseConfig } from "../config/peft_config.ts";
import { BidirectionalLstm } from "./lstm.ts";
import { torchLinear, VirtualTokenEncoder } from "./prompt_encoder.ts";
import type { PromptLearningConfig } from "./prompt_learning.ts";
import type { PromptTuningConfig } from "./prompt_tuning_config.ts";

/** What virtual tokens need to know of a model. */
export interface PromptFacts {
  /** Width of the model. */
  readonly hiddenSize: number;
  /** Number of blocks. */
  readonly numLayers: number;
  /** Attention heads of the queries. */
  readonly numHeads: number;
  /** Attention heads of the keys and values. */
  readonly numKeyValueHeads: number;
  /** Size of a head. */
  readonly headSize: number;
  /** Token embeddings, [V, C]. */
  readonly embeddings: Parameter;
  /** Where dropout draws from. */
  readonly random: RandomState;
}

/** Token ids of a text. */
type Encode = (text: string) => readonly number[];

/** What `peft` records of a model in a configuration of virtual tokens. */
export interface PromptSizes {
  /** Length of a virtual token: of its embedding, or of its keys in one layer. */
  readonly tokenDim: number;
  /** Number of blocks. */
  readonly numLayers: number;
  /** Attention heads that this length is divided among. */
  readonly numAttentionHeads: number;
}

/** Sizes of a method's virtual tokens: a prefix is made of keys and values, of which a layer may have fewer heads. */
export function promptSizes(peftType: PromptLearningConfig["peftType"], facts: PromptFacts): PromptSizes {
  const { hiddenSize, numLayers, numHeads, numKeyValueHeads, headSize } = facts;
  return peftType === "PREFIX_TUNING"
    ? { tokenDim: numKeyValueHeads * headSize, numLayers, numAttentionHeads: numKeyValueHeads }
    : { tokenDim: hiddenSize, numLayers, numAttentionHeads: numHeads };
}

/** Inputs of a model besides its tokens. */
export interface VirtualInputs {
  /** [NV, C] */
  promptEmbeds?: Tensor;
  /** Keys and values of each layer, [NV, 2 C]. */
  prefixKeyValues?: Tensor[];
}

/** Length of a virtual token's vector. */
export function tokenWidth(config: PromptLearningConfig, facts: PromptFacts): number {
  const { numLayers, tokenDim } = promptSizes(config.peftType, facts);
  return config.peftType === "PREFIX_TUNING" ? 2 * numLayers * tokenDim : tokenDim;
}

/** Virtual tokens [NV, width] as inputs. */
export function asInputs(
  config: PromptLearningConfig,
  facts: PromptFacts,
  tokens: Tensor,
): VirtualInputs {
  if (config.peftType !== "PREFIX_TUNING") return { promptEmbeds: tokens };
  const { numLayers, tokenDim } = promptSizes(config.peftType, facts);
  const width = 2 * tokenDim; // a layer's keys, then its values
  const layers = Array.from({ length: numLayers }, (_, i) => slice(tokens, 1, i * width, (i + 1) * width));
  return { prefixKeyValues: layers };
}

/** A fresh encoder with `peft`'s initial values. */
export function makeEncoder(
  config: PromptLearningConfig,
  facts: PromptFacts,
  init: Initializer,
  encode: Encode | undefined,
): VirtualTokenEncoder {
  const { numVirtualTokens: count } = config;
  const { tokenDim: width, numLayers } = promptSizes(config.peftType, facts);
  switch (config.peftType) {
    case "PREFIX_TUNING": {
      const all = 2 * numLayers * width;
      if (!config.prefixProjection) {
        const zero = config.initWeights === "zero";
        return new VirtualTokenEncoder(zero ? init.constant([count, all], 0) : init.normal([count, all], 1));
      }
      const hidden = config.encoderHiddenSize!;
      const table = init.normal([count, width], 1);
      return new VirtualTokenEncoder(table, "transform", [
        torchLinear(init, width, hidden),
        torchLinear(init, hidden, all),
      ]);
    }
    case "P_TUNING": {
      const hidden = config.encoderHiddenSize!;
      const table = init.normal([count, width], 1);
      const isLstm = config.encoderReparameterizationType === "LSTM";
      const lstm = isLstm
        ? new BidirectionalLstm(init, {
          inputSize: width,
          hiddenSize: hidden,
          numLayers: config.encoderNumLayers,
          dropout: new Dropout(config.encoderDropout, facts.random),
        })
        : null;
      const sizes = isLstm
        ? [[2 * hidden, 2 * hidden], [2 * hidden, width]]
        : [[width, hidden], [hidden, hidden], [hidden, width]];
      const layers = sizes.map(([from, to]) => torchLinear(init, from, to));
      return new VirtualTokenEncoder(table, "mlp_head", layers, lstm);
    }
    case "PROMPT_TUNING":
      return new VirtualTokenEncoder(promptTable(config, facts, init, encode));
  }
}

function promptTable(
  config: PromptTuningConfig,
  { hiddenSize, embeddings }: PromptFacts,
  init: Initializer,
  encode: Encode | undefined,
): Parameter {
  const { numVirtualTokens: count, promptTuningInit } = config;
  if (promptTuningInit === "RANDOM") return init.normal([count, hiddenSize], 1);
  let ids: number[];
  if (promptTuningInit === "SAMPLE_VOCAB") {
    const random = new HostRandom(init.seed);
    ids = Array.from({ length: count }, () => random.integer(embeddings.shape[0]));
  } else {
    const encoded = encode?.(config.promptTuningInitText!) ?? [];
    if (encoded.length === 0) {
      refuseConfig(
        "prompt_tuning",
        `a text to start from needs getPeftModel(..., { encode: tokenizer.encode }), received none`,
      );
    }
    ids = Array.from({ length: count }, (_, i) => encoded[i % encoded.length]); // repeated or cut, as in peft
  }
  const { device } = embeddings;
  return new Parameter(
    untracked(() =>
      noGrad(() => tidy(() => embedding(Tensor.from(Int32Array.from(ids), { device }), embeddings)))
    ),
  );
}
