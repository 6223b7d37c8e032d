/**
 * Base weights that two modules share, such as GPT-2's head and token embedding. A merge into one of them must not
 * change the other, so the merged module gets a weight of its own. (`peft` merges into the shared one, which changes
 * both; see https://github.com/huggingface/peft/issues/2777.)
 * @module
 */

import { untracked } from "../../autograd/mod.ts";
import { type Module, Parameter } from "../../nn/mod.ts";

/** One weight that was shared. */
interface Untied {
  readonly module: Module;
  readonly key: string;
  readonly shared: Parameter;
  readonly own: Parameter;
}

/** Parameters that more than one module of a tree holds. */
function sharedParameters(root: Module): Set<Parameter> {
  const seen = new Set<Parameter>();
  const shared = new Set<Parameter>();
  for (const [, module] of root.namedModules()) {
    for (const [, parameter] of module.ownParameters()) (seen.has(parameter) ? shared : seen).add(parameter);
  }
  return shared;
}

/** The weights that merging gave modules of their own. */
export class UntiedWeights {
  #untied: Untied[] = [];

  /**
   * Gives each of these modules its own copy of what it shares with another module of the tree.
   * @returns each copy with the parameter it came from
   */
  untie(root: Module, modules: Iterable<Module>): [own: Parameter, shared: Parameter][] {
    const shared = sharedParameters(root);
    const made: Untied[] = [];
    for (const module of modules) {
      for (const [key, parameter] of [...module.ownParameters()]) {
        if (!shared.has(parameter)) continue;
        const own = new Parameter(untracked(() => parameter.copy()), parameter.requiresGrad);
        (module as unknown as Record<string, Parameter>)[key] = own;
        made.push({ module, key, shared: parameter, own });
      }
    }
    this.#untied.push(...made);
    return made.map(({ own, shared }) => [own, shared]);
  }

  /** Ties them again and frees the copies. */
  restore(): void {
    for (const { module, key, shared, own } of this.#untied) {
      (module as unknown as Record<string, Parameter>)[key] = shared;
      own.dispose();
    }
    this.#untied = [];
  }

  /** Leaves them as they are: what is merged stays. */
  forget(): void {
    this.#untied = [];
  }
}
