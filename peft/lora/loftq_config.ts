/**
 * Options of LoRA's start over a quantised weight (LoftQ), with `peft`'s names and defaults.
 * @module
 */

import { choice, integer } from "../../options/rules.ts";
import { defaultsOf, option, type OptionTable, toDisk } from "../../options/table.ts";
import { completeNested, nestedFromDisk } from "./nested_options.ts";

/**
 * How LoftQ quantises.
 *
 * @example
 * ```ts
 * import { LoraConfig } from "@peft/webgpu";
 * import type { LoftQConfig } from "@peft/webgpu/peft";
 *
 * const loftqConfig: LoftQConfig = { loftqBits: 8, loftqIter: 1 }; // int8 by rows instead of NF4
 * console.log(new LoraConfig({ initLoraWeights: "loftq", loftqConfig }).toJSON().loftq_config);
 * ```
 */
export interface LoftQConfig {
  /** Bits of a weight: 4 (NF4) or 8 (int8 by rows). Default 4. */
  loftqBits: 4 | 8;
  /** Times that quantising and fitting take turns; default 1. */
  loftqIter: number;
}

const OPTIONS: OptionTable<LoftQConfig> = {
  loftqBits: option<4 | 8>(4, choice(4, 8)),
  loftqIter: option(1, integer(1)),
};

/** The options where none are given. */
export const LOFTQ_DEFAULTS: LoftQConfig = defaultsOf(OPTIONS);

/** All options. @throws {RangeError} for an option that is unknown or out of range */
export const completeLoftQ = (given: Partial<LoftQConfig>): LoftQConfig =>
  completeNested("loftq_config", OPTIONS, given);

/** The options of a file by their names here. */
export const loftQFromJSON = (json: object): object => nestedFromDisk(OPTIONS, json);

/** The entry of a file. */
export function loftQToJSON(config: LoftQConfig | null): Record<string, unknown> {
  return config === null ? {} : toDisk(OPTIONS, config);
}
