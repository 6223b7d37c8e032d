/**
 * Which modules of a tree hold adapters.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
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
