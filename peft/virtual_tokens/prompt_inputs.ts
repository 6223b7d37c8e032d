/**
 * Virtual tokens as a model takes them: embeddings before every row, or with prefix tuning keys and values of each layer.
 * @module
 */

import { slice, type Tensor } from "../../autograd/mod.ts";
import { type PromptFacts, promptSizes } from "./prompt_init.ts";
import type { PromptLearningConfig } from "./prompt_learning.ts";

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
