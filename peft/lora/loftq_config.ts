/**
 * Options of LoRA's start over a quantised weight (LoftQ), with `peft`'s names and defaults.
 * @module
 */

import { choice, integer } from "../../options/rules.ts";
import {
  completeOptions,
  defaultsOf,
  fromDisk,
  namesOf,
  option,
  type OptionTable,
  toDisk,
} from "../../options/table.ts";
import { refuseConfig } from "../config/peft_config.ts";

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

const refuse = (message: string) => refuseConfig("lora", `loftq_config: ${message}`);

/** All options; none where none are given. @throws {RangeError} for an option that is unknown or out of range */
export function completeLoftQ(given: Partial<LoftQConfig> | null): LoftQConfig | null {
  if (given === null) return null;
  if (typeof given !== "object" || Array.isArray(given)) {
    refuse(`a table of options is required, received ${JSON.stringify(given)}`);
  }
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown.length > 0) {
    refuse(`the options are ${namesOf(OPTIONS).join(", ")}, received ${unknown.join(", ")}`);
  }
  return completeOptions(OPTIONS, given, { refuse });
}

/** The options of a file, where an empty table stands for none. */
export function loftQFromJSON(json: unknown): Partial<LoftQConfig> | null {
  if (typeof json !== "object" || json === null || Object.keys(json).length === 0) return null;
  const { given, rest } = fromDisk(OPTIONS, json as Readonly<Record<string, unknown>>);
  return { ...given, ...rest };
}

/** The entry of a file. */
export function loftQToJSON(config: LoftQConfig | null): Record<string, unknown> {
  return config === null ? {} : toDisk(OPTIONS, config);
}
