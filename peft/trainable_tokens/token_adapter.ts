/**
 * Trained tokens beside another method (`peft`'s `trainable_token_indices`), and heads that are tied to an embedding
 * with trained tokens.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import { Embedding, Linear, Module, type Parameter } from "../../nn/mod.ts";
import type { InjectionContext } from "../layers/tuner_layer.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { findModulesToSave } from "../targets/targets.ts";
import { TrainableTokensLayer } from "./trainable_tokens_layer.ts";

/** Ids of the input embedding, or of modules by the ends of their names. */
export type TokenIndices = readonly number[] | Readonly<Record<string, readonly number[]>>;

/**
 * Replaces an embedding, or its tied head; as in `peft`, the layer is one level below.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { TokenAdapter } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ targetModules: ["c_attn"], trainableTokenIndices: [5, 6] }));
 * for (const [path, module] of model.namedModules()) if (module instanceof TokenAdapter) console.log(path);
 * ```
 */
export class TokenAdapter extends Module {
  /** The layer with trained rows; the base's own module once the last adapter is gone. */
  token_adapter: TrainableTokensLayer | Embedding | Linear;

  /** Wraps a layer with trained rows. */
  constructor(layer: TrainableTokensLayer) {
    super();
    this.token_adapter = layer;
    this.training = layer.training;
  }

  /** The base table, merged or not. */
  get weight(): Parameter {
    return this.token_adapter.weight;
  }

  /** What the layer computes. */
  forward(x: Tensor): Tensor {
    return this.token_adapter.forward(x);
  }

  /** The layer's weight as a head (see `Projection`). */
  headWeight(): Tensor | null {
    return "headWeight" in this.token_adapter ? this.token_adapter.headWeight() : null;
  }
}

/** Every module with trained tokens beside another method, with its path. */
export function tokenAdapters(root: Module): [path: string, adapter: TokenAdapter][] {
  return [...root.namedModules()].filter((entry): entry is [string, TokenAdapter] =>
    entry[1] instanceof TokenAdapter
  );
}

/**
 * The modules whose tokens train, by path.
 * @throws {TypeError} if a name matches no module, or one that has no tokens
 */
export function findTokenModules(root: Module, indices: TokenIndices): Map<string, readonly number[]> {
  const found = new Map<string, readonly number[]>();
  const isEmbedding = (module: Module) => module instanceof Embedding || module instanceof TokenAdapter;
  if (Array.isArray(indices)) {
    const input = [...root.namedModules()].find(([, module]) => isEmbedding(module));
    if (input) found.set(input[0], indices);
  } else {
    for (const [name, ids] of Object.entries(indices)) {
      for (const path of findModulesToSave(root, [name])) found.set(path, ids);
    }
  }
  for (const path of found.keys()) {
    const module = root.getSubmodule(path);
    if (isEmbedding(module)) continue;
    throw new TypeError(
      `Cannot train tokens: trainable_token_indices cannot be applied to "${path}" (${module.constructor.name}), an embedding without other adapters is required`,
    );
  }
  return found;
}

/**
 * Checks that no module with trained tokens, and no head tied to one, is also a target or trained whole.
 * @throws {TypeError}
 */
export function checkTokenTargets(
  taken: readonly string[],
  tokens: ReadonlyMap<string, readonly number[]>,
  root: Module,
): void {
  const weights = [...tokens.keys()].map((path) =>
    (root.getSubmodule(path) as Embedding | TokenAdapter).weight
  );
  for (const path of taken) {
    const { weight } = root.getSubmodule(path) as { weight?: Parameter };
    if (!tokens.has(path) && !(weight && weights.includes(weight))) continue;
    throw new TypeError(
      `Cannot train tokens: trainable_token_indices cannot be applied to a weight that targetModules or modulesToSave take too, received "${path}"`,
    );
  }
}

/** Adds an adapter's tokens. @throws {RangeError} for ids outside a table */
export function addTokens(
  root: Module,
  name: string,
  modules: ReadonlyMap<string, readonly number[]>,
  context: InjectionContext,
): void {
  for (const [path, ids] of modules) {
    let adapter = root.getSubmodule(path);
    if (!(adapter instanceof TokenAdapter)) {
      const layer = new TrainableTokensLayer(adapter as Embedding, context.state);
      root.setSubmodule(path, adapter = new TokenAdapter(layer));
    }
    const layer = (adapter as TokenAdapter).token_adapter as TrainableTokensLayer;
    layer.addTokens(name, { tokenIndices: ids, initWeights: true }, path, context);
  }
}

/** Lets linear modules that share the weight of an embedding with trained tokens use its rows. */
export function tieTokens(root: Module, state: AdapterState): void {
  const beside = new Set<Module>(tokenAdapters(root).map(([, { token_adapter }]) => token_adapter));
  const modules = [...root.namedModules()];
  for (const [, leader] of modules) {
    if (!(leader instanceof TrainableTokensLayer && leader.base_layer instanceof Embedding)) continue;
    for (const [path, module] of modules) {
      if (!(module instanceof Linear && module.weight === leader.weight) || path.endsWith(".base_layer")) {
        continue;
      }
      const isBeside = beside.has(leader);
      const layer = new TrainableTokensLayer(module, state, leader, !isBeside);
      root.setSubmodule(path, isBeside ? new TokenAdapter(layer) : layer);
    }
  }
}

/** Removes wrappers that hold no adapter any more. */
export function dropTokenAdapters(root: Module): void {
  for (const [path, { token_adapter }] of tokenAdapters(root)) {
    if (!(token_adapter instanceof TrainableTokensLayer)) root.setSubmodule(path, token_adapter);
  }
}
