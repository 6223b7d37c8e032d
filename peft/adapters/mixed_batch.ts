/**
 * A batch whose rows use different adapters (`peft`'s `adapter_names`), in eval mode, nothing merged. LoRA runs all rows
 * in one launch; other methods, which `peft` cannot mix, run group by group (`AdapterState.forRows`).
 * @module
 */

import { type StackedLora, stackLora, untracked } from "../../autograd/mod.ts";
import type { Module } from "../../nn/mod.ts";
import { tunerLayers } from "../layers/find_layers.ts";
import { isLowRankLayer } from "../lora/low_rank.ts";
import type { AdapterState } from "../state/adapter_state.ts";
import { type FactoredLayer, wholeFactors } from "../state/low_rank_factors.ts";
import { BASE } from "./adapter_names.ts";

const ACTION = "Cannot mix adapters";

/**
 * Which adapter each row of a batch uses, with their factors next to each other, layer by layer.
 *
 * @example
 * ```ts
 * import { AutoModelForCausalLM, getPeftModel, LoraConfig } from "@peft/webgpu";
 * import { LoraLayer, MixedBatch } from "@peft/webgpu/peft";
 *
 * const base = await AutoModelForCausalLM.fromPretrained("examples/demo/model");
 * const model = getPeftModel(base, new LoraConfig({ r: 4, targetModules: ["c_attn"] }), "pirate");
 * model.addAdapter("poet", new LoraConfig({ r: 8, targetModules: ["c_attn"] }));
 * const batch = new MixedBatch(["pirate", "poet", "__base__"]);
 * const layer = model.getSubmodule("base_model.model.transformer.h.0.attn.c_attn");
 * if (layer instanceof LoraLayer) console.log(batch.stackOf(layer)?.maxRank); // 8
 * batch.dispose();
 * ```
 */
export class MixedBatch {
  /** Adapter of each row, or "__base__". */
  readonly names: readonly string[];
  readonly #stacks = new Map<FactoredLayer, StackedLora | null>();

  /** Factors are copied when a layer first needs them. */
  constructor(names: readonly string[]) {
    this.names = names;
  }

  /** The factors of a layer; null if no row has an adapter there, or one is of a method that has no such factors. */
  stackOf(layer: FactoredLayer): StackedLora | null {
    let stack = this.#stacks.get(layer);
    if (stack === undefined) this.#stacks.set(layer, stack = this.#stack(layer));
    return stack;
  }

  #stack(layer: FactoredLayer): StackedLora | null {
    const here = layer.adapterNames();
    const present = [...new Set(this.names)].filter((name) => here.includes(name));
    const factors = present.map((name) => layer.lowRank(name)).filter((own) => own !== null);
    if (factors.length === 0 || factors.length < present.length) return null;
    const stacked = factors.map((own, i) => ({
      ...own,
      ...wholeFactors(own),
      scaling: layer.scaling.get(present[i])!,
    }));
    return untracked(() => stackLora(stacked, this.names.map((name) => present.indexOf(name))));
  }

  /** Frees the copies. */
  dispose(): void {
    for (const stack of this.#stacks.values()) {
      for (const tensor of stack ? [stack.places, stack.A, stack.B] : []) tensor.dispose();
    }
    this.#stacks.clear();
  }
}

/** Number of rows of a model's inputs, ids or embeddings. */
function rowsOf(inputs: unknown): number | undefined {
  if (typeof inputs === "string") return 1;
  const { inputIds, inputsEmbeds, text } = (Array.isArray(inputs) ? { inputIds: inputs } : inputs ?? {}) as {
    text?: string | readonly string[];
    inputIds?: readonly unknown[] | { readonly shape: readonly number[] };
    inputsEmbeds?: { readonly shape: readonly number[] };
  };
  if (text !== undefined) return [text].flat().length;
  const ids = inputsEmbeds ?? inputIds;
  return ids === undefined
    ? undefined
    : Array.isArray(ids)
    ? ids.length
    : "shape" in ids
    ? ids.shape[0]
    : undefined;
}

/**
 * Checks that the rows of a batch can use these adapters.
 * @throws {RangeError} for a wrong number of names, an unknown one, training mode, merged adapters, DoRA
 * @throws {TypeError} if the names are no list of names
 */
export function checkMixedBatch(
  model: Module,
  { merged }: AdapterState,
  known: Iterable<string>,
  names: readonly string[],
  inputs: unknown,
): void {
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string")) {
    throw new TypeError(`${ACTION}: adapterNames must be a list of names, received ${JSON.stringify(names)}`);
  }
  if (model.training) {
    throw new RangeError(`${ACTION}: Cannot pass \`adapter_names\` when the model is in training mode.`);
  }
  const there = new Set([...known, BASE]);
  const unknown = [...new Set(names)].filter((name) => !there.has(name));
  if (unknown.length > 0) {
    throw new RangeError(
      `${ACTION}: Trying to infer with non-existing adapter(s): ${unknown.sort().join(", ")}`,
    );
  }
  const rows = rowsOf(inputs);
  if (rows !== undefined && rows !== names.length) {
    throw new RangeError(
      `${ACTION}: Length of \`adapter_names\` should be the same as the number of inputs, but got ${names.length} and ${rows} respectively.`,
    );
  }
  if (merged.length > 0) {
    throw new RangeError(
      `${ACTION}: Cannot pass \`adapter_names\` when there are merged adapters, please call \`unmerge_adapter\` first.`,
    );
  }
  const wanted = new Set(names);
  for (const [, layer] of tunerLayers(model)) {
    if (!isLowRankLayer(layer)) continue;
    const here = layer.adapterNames().filter((name) => wanted.has(name));
    if (here.some((name) => layer.lowRank(name)?.hasMagnitude)) {
      throw new RangeError(`${ACTION}: Cannot pass \`adapter_names\` when DoRA is enabled.`);
    }
  }
}
