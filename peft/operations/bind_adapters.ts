/**
 * Rows of a batch bound to adapters for as many forwards as a caller likes: what continuous batching needs of adapters.
 * @module
 */

import type { Module } from "../../nn/mod.ts";
import { tunerOf } from "../adapters/find_adapters.ts";
import { bindRows, type BoundAdapters } from "../adapters/run_model.ts";

/**
 * Binds the rows of a batch to adapters, as `adapterNames` of `generate` does; null stands for none. Only LoRA's rows share
 * launches. The model must be in eval mode, or called in one.
 *
 * ```ts ignore
 * const batch = new ContinuousBatch(model.getBaseModel(), { bindAdapters: (names) => bindAdapters(model, names) });
 * batch.add({ prompt, maxNewTokens: 20, adapter: "pirate" });
 * ```
 * @param model a `PeftModel`, or a model that `injectAdapterInModel` changed
 * @throws {RangeError} for an unknown adapter, merged adapters, or DoRA beside other adapters
 * @throws {TypeError} for virtual tokens
 */
export function bindAdapters(model: Module, names: readonly (string | null)[]): BoundAdapters {
  return bindRows(tunerOf(model, "bind adapters"), names);
}
