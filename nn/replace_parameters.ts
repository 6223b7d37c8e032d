/**
 * Other parameters in the place of those that a tree has.
 * @module
 */
import type { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

/** Puts parameters in the place of others wherever the tree has them, so that tied ones stay tied. */
export function replaceParameters(root: Module, others: ReadonlyMap<Parameter, Parameter>): void {
  for (const [, module] of root.namedModules()) {
    for (const [name, parameter] of [...module.ownParameters()]) {
      const other = others.get(parameter);
      if (other) (module as unknown as Record<string, Parameter>)[name] = other;
    }
  }
}
