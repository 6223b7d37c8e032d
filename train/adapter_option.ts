/**
 * `peftConfig`, with which TRL's trainers wrap the model themselves.
 * @module
 */

import { type AdapterConfigLike, wrapWithAdapter } from "../nn/mod.ts";
import { checkData } from "./data/check_data.ts";
import { checkModel, type TrainableModel } from "./trainable_model.ts";

export type { AdapterConfigLike };

/** Options with a model and what it is wrapped with. */
export interface TakesAdapter {
  /** What trains. */
  model: TrainableModel;
  /** An adapter that the model gets first, as by `getPeftModel`; `trainer.model` is the wrapped one. Default none. */
  peftConfig?: AdapterConfigLike | null;
  /** What is trained on. */
  trainDataset?: unknown;
  /** What is evaluated on. */
  evalDataset?: unknown;
}

/**
 * The options with the model wrapped, once they are known to be right: what is refused leaves the model as it was.
 * @throws {TypeError} for data that are none, for no configuration, and for a model that has adapters
 */
export function withAdapter<Options extends TakesAdapter>(
  action: string,
  options: Options,
): Omit<Options, "peftConfig"> {
  const { peftConfig = null, ...others } = options;
  checkData("make a trainer", "trainDataset", options.trainDataset);
  checkData("make a trainer", "evalDataset", options.evalDataset);
  if (peftConfig === null) return others;
  checkModel(action, options.model);
  if ("peftConfig" in options.model) {
    throw new TypeError(
      `Cannot ${action}: a model without adapters is required with peftConfig, received a PeftModel; merge its adapter first (mergeAndUnload), or leave peftConfig out`,
    );
  }
  return { ...others, model: wrapWithAdapter(action, options.model, peftConfig) };
}
