/**
 * Where the weights of a model come from: files of one kind or another.
 * @module
 */

import type { Shape, WeightType } from "../autograd/mod.ts";
import type { Parameter } from "../nn/mod.ts";

/** An element type that weights can keep. */
export interface KeptType {
  readonly type: WeightType;
  /** Whether they are kept whatever the caller asks for: tensors that a checkpoint says are quantised. */
  readonly always: boolean;
}

/** Weights by the names that the files have. */
export interface WeightSource {
  /** What messages call it. */
  readonly name: string;
  /** Names of all tensors. */
  names(): string[];
  /** The tensor of the parameter at `path`; undefined where there is none. */
  find(path: string): string | undefined;
  /** The shape that the parameter would have, and what keeps the tensor from being read, or null. */
  info(name: string, path: string): { shape: Shape; problem: string | null };
  /** The element type in which the tensor's numbers lie, where a parameter can keep them as they are; else null. */
  kept(name: string, path: string): KeptType | null;
  /** Whether a tensor that no parameter wants may be there. */
  ignores(name: string): boolean;
  /** Fills a parameter that has memory. */
  fill(name: string, path: string, parameter: Parameter): Promise<void>;
}
