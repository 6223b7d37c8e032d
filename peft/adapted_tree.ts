/**
 * Which modules of a tree hold adapters.
 * @module
 */

import type { Module } from "../nn/mod.ts";
import { tokenAdapters } from "./lora/token_adapter.ts";
import { ModulesToSaveWrapper } from "./modules_to_save.ts";
import { isTunerLayer, type TunerLayer } from "./tuner_layer.ts";

/** Every layer that holds adapters, with its path. */
export function tunerLayers(root: Module): [path: string, layer: TunerLayer][] {
  return [...root.namedModules()].filter((entry): entry is [string, TunerLayer & Module] =>
    isTunerLayer(entry[1])
  );
}

/** Every module that adapters train whole, with its path. */
export function savedModules(root: Module): [path: string, wrapper: ModulesToSaveWrapper][] {
  return [...root.namedModules()].filter((entry): entry is [string, ModulesToSaveWrapper] =>
    entry[1] instanceof ModulesToSaveWrapper
  );
}

/** The tree as target matching sees it: adapters' own modules are not candidates. */
export function unwrappedView(root: Module): Module {
  const inside = new Set<string>();
  for (const [path, layer] of [...tunerLayers(root), ...savedModules(root), ...tokenAdapters(root)]) {
    for (const [below] of (layer as Module).namedModules(path)) if (below !== path) inside.add(below);
  }
  if (inside.size === 0) return root;
  const view = Object.create(root) as Module;
  view.namedModules = function* () {
    for (const entry of root.namedModules()) if (!inside.has(entry[0])) yield entry;
  };
  return view;
}
