/**
 * Weights of Conv1D layers that lie [out, in], where Hugging Face's files have [in, out].
 * @module
 */
import { Conv1D, type Module, type Parameter } from "../nn/mod.ts";

/** Those of a tree. */
export function turnedWeights(model: Module): Set<Parameter> {
  const turned = new Set<Parameter>();
  for (const [, module] of model.namedModules()) {
    if (module instanceof Conv1D && module.layout === "linear") turned.add(module.weight);
  }
  return turned;
}
