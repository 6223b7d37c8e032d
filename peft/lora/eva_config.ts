/**
 * Options of LoRA's data-driven start (EVA), with `peft`'s names and defaults.
 * @module
 */

import { checkFiniteNumber, checkFlag } from "../checks.ts";
import { refuseConfig, snakeCase } from "../config.ts";

/** How EVA finds and shares out ranks. */
export interface EvaConfig {
  /** No layer gets more than rho times its rank; at least 1, where no rank moves. Default 2. */
  rho: number;
  /**
   * Cosine at which `peft` stops looking for components. They are exact here, so that it is read and written alone. Default
   * 0.99.
   */
  tau: number;
  /** Leave out tokens whose label is `labelMaskValue`; default true. */
  useLabelMask: boolean;
  /** Default -100. */
  labelMaskValue: number;
  /** Divide each component by the square root of its singular value; default false. */
  whiten: boolean;
  /** Scale alpha with the rank, so that the scaling stays; default true. */
  adjustScalingFactors: boolean;
}

const DEFAULTS: EvaConfig = {
  rho: 2,
  tau: 0.99,
  useLabelMask: true,
  labelMaskValue: -100,
  whiten: false,
  adjustScalingFactors: true,
};

/** All options, or null where none are given. @throws {RangeError} for an option that is unknown or out of range */
export function completeEva(given: Partial<EvaConfig> | null): EvaConfig | null {
  if (given === null) return null;
  if (typeof given !== "object" || Array.isArray(given)) {
    refuseConfig("lora", `eva_config must be a table of options or null, received ${JSON.stringify(given)}`);
  }
  const unknown = Object.keys(given).filter((name) => !Object.hasOwn(DEFAULTS, name));
  if (unknown.length > 0) {
    refuseConfig(
      "lora",
      `options of eva_config are ${Object.keys(DEFAULTS).join(", ")}, received ${unknown.join(", ")}`,
    );
  }
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  const all: EvaConfig = { ...DEFAULTS, ...Object.fromEntries(set) };
  if (!(all.rho >= 1 && Number.isFinite(all.rho))) {
    refuseConfig("lora", `eva_config: \`rho\` must be >= 1.0, received ${all.rho}`);
  }
  checkFiniteNumber("lora", "eva_config: tau", all.tau, 0, 1);
  checkFiniteNumber("lora", "eva_config: label_mask_value", all.labelMaskValue, -Number.MAX_VALUE);
  checkFlag("lora", "eva_config: use_label_mask", all.useLabelMask);
  checkFlag("lora", "eva_config: whiten", all.whiten);
  checkFlag("lora", "eva_config: adjust_scaling_factors", all.adjustScalingFactors);
  return all;
}

/** The options as a file has them. */
export function evaToJSON(config: EvaConfig | null): Record<string, unknown> | null {
  return config &&
    Object.fromEntries(Object.entries(config).map(([name, value]) => [snakeCase(name), value]));
}

/** The options of a file by their names here. */
export function evaFromJSON(json: unknown): unknown {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return json;
  const names = new Map(Object.keys(DEFAULTS).map((name) => [snakeCase(name), name]));
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [names.get(key) ?? key, value]));
}
