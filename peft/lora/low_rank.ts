/**
 * What weighing, swapping, scaling and mixing adapters need of a layer whose change is a product of two factors.
 * @module
 */

import type { Module, Parameter } from "../../nn/mod.ts";
import type { LoraOffset } from "./lora_factors.ts";
import type { AdapterState } from "../adapter_state.ts";
import type { LoraScaling } from "./lora_scaling.ts";
import { isTunerLayer, type TunerLayer } from "../method.ts";

/** The factors of one adapter: its change of the weight, seen as [out, in], is scaling * B A. */
export interface LowRankFactors {
  /** [r, in] */
  readonly A: Parameter;
  /** [out, r] */
  readonly B: Parameter;
  /** [out], added to B's output before scaling; null where there is none. */
  readonly bias: Parameter | null;
  /** Whether the lengths of the weight's columns are trained apart (DoRA), so that the change is more than B A. */
  readonly hasMagnitude: boolean;
  /** What is taken off the weight beside them (PiSSA, OLoRA); absent: nothing. */
  readonly offset?: LoraOffset;
}

/** A layer of the LoRA family. */
export interface LowRankLayer extends TunerLayer {
  /** Scaling of each adapter. */
  readonly scaling: LoraScaling;
  /** What all adapters of the model share. */
  readonly adapterState: AdapterState;
  /** An adapter's factors; null if it is not in this layer. */
  lowRank(name: string): LowRankFactors | null;
}

/** Whether a module is a layer of the LoRA family. */
export function isLowRankLayer(module: Module): module is LowRankLayer {
  return isTunerLayer(module) && "lowRank" in module;
}

/** Every layer of the LoRA family below `root`, with its path. */
export function lowRankLayers(root: Module): [path: string, layer: LowRankLayer][] {
  return [...root.namedModules()].filter((entry): entry is [string, LowRankLayer & Module] =>
    isLowRankLayer(entry[1])
  );
}
