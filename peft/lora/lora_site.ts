/**
 * Where a LoRA adapter starts, and the values that do not depend on the weight.
 * @module
 */

import type { Tensor } from "../../autograd/mod.ts";
import type { Initializer, Parameter } from "../../nn/mod.ts";
import type { LinearFacts } from "../layers/linear_call.ts";
import type { LoraOffset } from "../state/low_rank_factors.ts";
import type { LoftQConfig } from "./loftq_config.ts";

/** The layer that an adapter is made for, and what its start depends on besides. */
export interface LoraSite extends LinearFacts {
  /** r */
  readonly rank: number;
  /** s */
  readonly scaling: number;
  /** Where random numbers come from. */
  readonly init: Initializer;
  /** Options of "loftq". */
  readonly loftq?: LoftQConfig | null;
}

/** How an adapter starts. */
export interface LoraStart {
  /** [r, in] */
  readonly A: Parameter;
  /** [out, r] */
  readonly B: Parameter;
  /** The initial factors that are subtracted from the weight. */
  readonly offset?: LoraOffset;
  /** Quantised [out, in]: its numbers take the weight's place (LoftQ). */
  readonly base?: Tensor;
}

/** A [r, in], uniform as in `peft`. */
export const uniformA = ({ rank, inFeatures, init }: LoraSite) =>
  init.uniform([rank, inFeatures], 1 / Math.sqrt(inFeatures));

/** B [out, r], all 0. */
export const zeroB = ({ rank, outFeatures, init }: LoraSite) => init.constant([outFeatures, rank], 0);
