/**
 * Weights of adapted embeddings that go into an adapter's file, as `peft`'s `save_embedding_layers="auto"` decides: where
 * the targets name `embed_tokens` or the head, the base weights of the input embedding and of the head are written too,
 * each if it is a target.
 * @module
 */

import { Embedding, Linear, type Module, type Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import { EMBEDDING_NAMES, HEAD } from "../targets/default_targets.ts";
import { matchesTarget } from "../targets/targets.ts";

/** Whether the targets name an embedding or the head by the names that `peft` knows. */
function targetsEmbeddings({ targetModules }: PeftConfig, paths: readonly string[]): boolean {
  if (typeof targetModules !== "string") {
    return EMBEDDING_NAMES.some((name) => targetModules?.includes(name));
  }
  return targetModules.toLowerCase() !== "all-linear" &&
    paths.some((path) => matchesTarget(path, EMBEDDING_NAMES) && matchesTarget(path, targetModules));
}

/** Base weights that are written with an adapter, by their paths in the model. */
export function embeddingWeights(model: Module, name: string, config: PeftConfig): [string, Parameter][] {
  const { trainableTokenIndices } = config as { trainableTokenIndices?: unknown };
  const withTokens = trainableTokenIndices || config.peftType === "TRAINABLE_TOKENS";
  const layers = tunerLayers(model).filter(([, layer]) => layer.adapterNames().includes(name));
  if (withTokens || !targetsEmbeddings(config, layers.map(([path]) => path))) return [];
  const input = [...model.namedModules()].find(([, module]) => module instanceof Embedding)?.[1];
  return layers.flatMap(([path, { base_layer: base }]): [string, Parameter][] =>
    base === input || (path === HEAD && base instanceof Linear)
      ? [[`${path}.base_layer.weight`, (base as Linear | Embedding).weight]]
      : []
  );
}
