/**
 * Weights of adapted embeddings that go into an adapter's file, as `peft`'s `save_embedding_layers="auto"` decides: where
 * the head is a target, its base weight is written too, and that of the token embedding if that is a target as well.
 * @module
 */

import { Embedding, Linear, type Module, type Parameter } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import { HEAD } from "../targets/default_targets.ts";
import { matchesTarget } from "../targets/targets.ts";

/** Whether the targets name the head. */
function targetsHead({ targetModules }: PeftConfig): boolean {
  if (typeof targetModules !== "string") return targetModules?.includes(HEAD) ?? false;
  return targetModules.toLowerCase() !== "all-linear" && matchesTarget(HEAD, targetModules);
}

/** Base weights that are written with an adapter, by their paths in the model. */
export function embeddingWeights(model: Module, name: string, config: PeftConfig): [string, Parameter][] {
  const withTokens = (config as { trainableTokenIndices?: unknown }).trainableTokenIndices;
  if (withTokens || !targetsHead(config)) return [];
  const layers = tunerLayers(model).filter(([, layer]) => layer.adapterNames().includes(name));
  const head = layers.find(([path]) => path === HEAD)?.[1].base_layer;
  if (!(head instanceof Linear)) return [];
  return layers.flatMap(([path, { base_layer: base }]): [string, Parameter][] => {
    const isTied = base instanceof Embedding && base.weight === head.weight;
    return base === head || isTied
      ? [[`${path}.base_layer.weight`, (base as Linear | Embedding).weight]]
      : [];
  });
}
