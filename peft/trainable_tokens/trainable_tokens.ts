/**
 * Trainable tokens (`peft`'s TRAINABLE_TOKENS): chosen rows of the embedding train, nothing else; a tied head uses them
 * too. Beside another method the same is LoRA's `trainableTokenIndices`.
 * @module
 */

import type { PeftMethod } from "../methods/method.ts";
import { TrainableTokensConfig } from "./trainable_tokens_config.ts";
import { TrainableTokensLayer } from "./trainable_tokens_layer.ts";
import { Embedding, type Module } from "../../nn/mod.ts";

/** Path of the first embedding of the model, or null. */
function inputEmbedding(model: Module): string | null {
  const found = [...model.namedModules()].find(([, module]) =>
    module instanceof Embedding || module instanceof TrainableTokensLayer
  );
  return found?.[0] ?? null;
}

/** Trainable tokens, for the registry. */
export const trainableTokens: PeftMethod<TrainableTokensConfig> = {
  name: "trainable tokens",
  resolve: ({ targetModules }, _modelType, model) => ({
    targetModules: targetModules ?? inputEmbedding(model),
  }),
  configFromJSON: (json) => TrainableTokensConfig.fromJSON(json),
  supports: (module) => module instanceof Embedding || module instanceof TrainableTokensLayer,
  wrap: (module, state) => new TrainableTokensLayer(module as Embedding, state),
};
