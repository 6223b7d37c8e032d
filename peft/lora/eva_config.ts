/**
 * Options of LoRA's data-driven start (EVA), with `peft`'s names and defaults.
 * @module
 */

import { flag, number } from "../../options/rules.ts";
import { option, type OptionTable, toDisk } from "../../options/table.ts";
import { probability } from "../config/rules.ts";
import { completeNested, nestedFromDisk } from "./nested_options.ts";

/**
 * How EVA finds and shares out ranks.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 * import type { EvaConfig } from "@peft/webgpu/peft";
 *
 * const eva: Partial<EvaConfig> = { rho: 1, whiten: true }; // every layer keeps its rank
 * console.log(new LoraConfig({ initLoraWeights: "eva", evaConfig: eva }).evaConfig!.rho); // 1
 * ```
 */
export interface EvaConfig {
  /** No layer gets more than rho times its rank; at least 1, where no rank moves. Default 2. */
  rho: number;
  /**
   * Cosine at which `peft` stops its search for components. Here they are exact, so this is only read and written. Default
   * 0.99.
   */
  tau: number;
  /** Leave out tokens whose label is `labelMaskValue`; default true. */
  useLabelMask: boolean;
  /** Default -100. */
  labelMaskValue: number;
  /** Divide each component by the square root of its singular value; default false. */
  whiten: boolean;
  /** Scale alpha with the rank, so that the scaling stays the same; default true. */
  adjustScalingFactors: boolean;
}

const OPTIONS: OptionTable<EvaConfig> = {
  rho: option(2, number(1)),
  tau: option(0.99, probability),
  useLabelMask: option(true, flag),
  labelMaskValue: option(-100, number()),
  whiten: option(false, flag),
  adjustScalingFactors: option(true, flag),
};

/** All options. @throws {RangeError} for an option that is unknown or out of range */
export const completeEva = (given: Partial<EvaConfig>): EvaConfig =>
  completeNested("eva_config", OPTIONS, given);

/** The options as a file has them. */
export function evaToJSON(config: EvaConfig | null): Record<string, unknown> | null {
  return config && toDisk(OPTIONS, config);
}

/** The options of a file by their names here. */
export const evaFromJSON = (json: object): object => nestedFromDisk(OPTIONS, json);
