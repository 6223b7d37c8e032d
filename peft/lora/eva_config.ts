/**
 * Options of LoRA's data-driven start (EVA), with `peft`'s names and defaults.
 * @module
 */

import { flag, number } from "../../options/rules.ts";
import {
  completeOptions,
  fromDisk,
  namesOf,
  option,
  type OptionTable,
  snakeCase,
  toDisk,
} from "../../options/table.ts";
import { refuseConfig } from "../config/peft_config.ts";
import { probability } from "../config/rules.ts";

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

/** All options, or null where none are given. @throws {RangeError} for an option that is unknown or out of range */
export function completeEva(given: Partial<EvaConfig> | null): EvaConfig | null {
  if (given === null) return null;
  const refuse = (message: string) => refuseConfig("lora", message);
  if (typeof given !== "object" || Array.isArray(given)) {
    refuse(`eva_config must be a table of options or null, received ${JSON.stringify(given)}`);
  }
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown.length > 0) {
    refuse(`options of eva_config are ${namesOf(OPTIONS).join(", ")}, received ${unknown.join(", ")}`);
  }
  return completeOptions(OPTIONS, given, { refuse, nameOf: (name) => `eva_config: ${snakeCase(name)}` });
}

/** The options as a file has them. */
export function evaToJSON(config: EvaConfig | null): Record<string, unknown> | null {
  return config && toDisk(OPTIONS, config);
}

/** The options of a file by their names here. */
export function evaFromJSON(json: unknown): unknown {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return json;
  const { given, rest } = fromDisk(OPTIONS, json as Record<string, unknown>);
  return { ...given, ...rest };
}
