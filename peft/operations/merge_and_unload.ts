/**
 * A base model with its adapters' change in its weights, for good.
 * @module
 */

import type { AdaptableModel } from "../adaptable_model.ts";
import type { AdapterHost } from "../adapters/model_adapters.ts";

/** Merges adapters, even if switched off, and takes the wrappers away; those that are merged already stay so. */
export async function mergeAndUnload<M extends AdaptableModel>(
  host: AdapterHost<M>,
  names: readonly string[],
  safeMerge: boolean = false,
): Promise<M> {
  const { isHeld } = host.switch;
  try {
    if (isHeld) host.switch.set(true);
    if (names.some((name) => !host.state.merged.includes(name))) await host.merge(names, safeMerge, true);
  } catch (error) {
    if (isHeld) host.switch.set(false);
    throw error;
  }
  const model = host.unload(true);
  host.restoreGradients();
  return model;
}
