/**
 * Puts the parts of adapters into a module tree, and takes them out.
 * @module
 */

import { noGrad } from "../../autograd/mod.ts";
import { Module } from "../../nn/mod.ts";
import type { PeftConfig } from "../config/peft_config.ts";
import { savedModules, tunerLayers } from "../layers/find_layers.ts";
import { ModulesToSaveWrapper } from "../layers/modules_to_save.ts";
import { checkTrainsWhole } from "../layers/quantized_base.ts";
import { type InjectionContext, isTunerLayer, type TunerLayer } from "../layers/tuner_layer.ts";
import type { PeftMethod } from "../methods/method.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { addTokens, dropTokenAdapters, tieTokens, tokenAdapters } from "../trainable_tokens/token_adapter.ts";

/** Whether tokens train in a tree. What deals with them is loaded with the first that do. */
function hasTokens(root: Module): boolean {
  return [...root.namedModules()].some(([, module]) =>
    "token_adapter" in module || "trainable_tokens_delta" in module
  );
}

/** The tree as target matching sees it: adapters' own modules are not candidates. */
export function unwrappedView(root: Module): Module {
  const inside = new Set<string>();
  const tokens = hasTokens(root) ? tokenAdapters(root) : [];
  for (const [path, layer] of [...tunerLayers(root), ...savedModules(root), ...tokens]) {
    for (const [below] of (layer as Module).namedModules(path)) if (below !== path) inside.add(below);
  }
  return inside.size === 0 ? root : withoutModules(root, inside);
}

/** A tree that does not list the modules at some paths. */
function withoutModules(root: Module, inside: ReadonlySet<string>): Module {
  const view = Object.create(root) as Module;
  view.namedModules = function* () {
    for (const entry of root.namedModules()) if (!inside.has(entry[0])) yield entry;
  };
  return view;
}

/** Where an adapter goes, and what makes it. */
export interface Placement {
  /** Modules that it adapts. */
  readonly paths: readonly string[];
  /** Modules that it trains whole. */
  readonly whole: readonly string[];
  /** Embeddings that it trains tokens of. */
  readonly tokens: ReadonlyMap<string, readonly number[]>;
  readonly method: PeftMethod;
  readonly context: InjectionContext;
}

/** Wraps modules that have no adapter yet, and makes the adapter in each. */
export function placeAdapter(
  model: Module,
  name: string,
  config: PeftConfig,
  { paths, whole, tokens, method, context }: Placement,
): void {
  for (const path of whole) checkTrainsWhole(path, model.getSubmodule(path));
  for (const path of paths) {
    const present = model.getSubmodule(path);
    let layer: TunerLayer;
    if (isTunerLayer(present)) layer = present;
    else model.setSubmodule(path, layer = method.wrap(present, context.state));
    layer.addAdapter(name, config, path, context);
  }
  for (const path of whole) trainWhole(model, path, name, context.state);
  if (tokens.size > 0) addTokens(model, name, tokens, context);
  if (hasTokens(model)) tieTokens(model, context.state);
}

/** Gives an adapter its own copy of a module. */
function trainWhole(model: Module, path: string, name: string, state: AdapterState): void {
  let wrapper = model.getSubmodule(path);
  if (!(wrapper instanceof ModulesToSaveWrapper)) {
    model.setSubmodule(path, wrapper = new ModulesToSaveWrapper(wrapper, state));
  }
  (wrapper as ModulesToSaveWrapper).addAdapter(name);
}

/** Frees an adapter's parts; where a module is left without adapters, its base takes its place again. */
export function takeOutAdapter(model: Module, name: string): void {
  for (const [path, layer] of tunerLayers(model)) {
    layer.deleteAdapter(name);
    if (layer.adapterNames().length === 0) model.setSubmodule(path, layer.base_layer);
  }
  for (const [path, wrapper] of savedModules(model)) {
    wrapper.modules_to_save.delete(name);
    if (wrapper.modules_to_save.keys().length === 0) model.setSubmodule(path, wrapper.original_module);
  }
  if (hasTokens(model)) dropTokenAdapters(model);
}

/** Restores every base module (with `keepSaved`, the active copies of modules trained whole) and frees the adapters. */
export function putBasesBack(model: Module, keepSaved: boolean): void {
  noGrad(() => {
    for (const [path, layer] of tunerLayers(model)) {
      model.setSubmodule(path, layer.base_layer);
      for (const name of layer.adapterNames()) layer.deleteAdapter(name);
    }
    if (hasTokens(model)) dropTokenAdapters(model);
    for (const [path, wrapper] of savedModules(model)) {
      const kept = keepSaved ? wrapper.acting : wrapper.original_module;
      model.setSubmodule(path, kept);
      for (const module of [wrapper.original_module, ...wrapper.modules_to_save.children()].flat()) {
        if (module instanceof Module && module !== kept && !isShared(model, module)) module.dispose();
      }
    }
  });
}

/** Whether a replaced module's weights are still in the tree: tied ones are. */
function isShared(model: Module, module: Module): boolean {
  const present = new Set(model.parameters());
  return [...module.parameters()].some((parameter) => present.has(parameter));
}
