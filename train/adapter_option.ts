/**
 * `peftConfig`, with which TRL's trainers wrap the model themselves.
 * @module
 */

import { type AdapterConfigLike, wrapWithAdapter } from "../nn/mod.ts";
import { checkModel, type TrainableModel } from "./trainable_model.ts";

export type { AdapterConfigLike };

/** Options with a model and what it is wrapped with. */
export interface TakesAdapter {
  /** What trains. */
  model: TrainableModel;
  /** An adapter that the model gets first, as by `getPeftModel`; `trainer.model` is the wrapped one. Default none. */
  peftConfig?: AdapterConfigLike | null;
}

/** The options with the model wrapped. @throws {TypeError} for no configuration, and a model that has adapters */
export function withAdapter<Options extends TakesAdapter>(
  action: string,
  options: Options,
): Omit<Options, "peftConfig"> {
  const { peftConfig = null, ...others } = options;
  if (peftConfig === null) return others;
  checkModel(action, options.model);
  if ("peftConfig" in options.model) {
    throw new TypeError(
      `Cannot ${action}: a model without adapters is required with peftConfig, received a PeftModel; merge its adapter first (mergeAndUnload), or leave peftConfig out`,
    );
  }
  return { ...others, model: wrapWithAdapter(action, options.model, peftConfig) };
}
