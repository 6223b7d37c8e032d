/**
 * Parameters by name, and what does not fit when they are loaded.
 * @module
 */

import type { Tensor } from "../autograd/mod.ts";

/**
 * Names to tensors, in the order of the tree.
 *
 * @example
 * ```ts
 * import { initDevice } from "@peft/webgpu";
 * import { Linear, Parameter, type StateDict } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const state: StateDict = new Linear(Parameter.from([[1, 2], [3, 4]]), Parameter.from([0, 0])).stateDict();
 * for (const [name, { shape }] of state) console.log(name, shape); // weight [ 2, 2 ], then bias [ 2 ]
 * ```
 */
export type StateDict = Map<string, Tensor>;

/**
 * What `loadStateDict` found.
 *
 * @example
 * ```ts
 * import { initDevice, Tensor } from "@peft/webgpu";
 * import { LayerNorm, type LoadResult, Parameter } from "@peft/webgpu/tensor";
 *
 * await initDevice();
 * const norm = new LayerNorm(Parameter.from([1, 1]), Parameter.from([0, 0]));
 * const result: LoadResult = norm.loadStateDict(new Map([["weight", Tensor.from([2, 3])]]), { strict: false });
 * console.log(result); // { missingKeys: [ "bias" ], unexpectedKeys: [] }
 * ```
 */
export interface LoadResult {
  /** Names of the module that the state dict lacks. */
  readonly missingKeys: string[];
  /** Names of the state dict that the module lacks. */
  readonly unexpectedKeys: string[];
}

/** Most mismatches that an error lists. */
const MAX_LISTED = 20;

/** @internal One error that names every mismatch, the first twenty of them. */
export function mismatchError(action: string, lines: readonly string[]): TypeError {
  const more = lines.length > MAX_LISTED ? `; and ${lines.length - MAX_LISTED} more` : "";
  const noun = lines.length === 1 ? "tensor differs" : "tensors differ";
  return new TypeError(`${action}, ${lines.length} ${noun}: ${lines.slice(0, MAX_LISTED).join("; ")}${more}`);
}
