/**
 * What the configurations of LyCORIS' methods share, LoHa and LoKr (`peft`'s `LycorisConfig`).
 * @module
 */

import { checkFiniteNumber, checkPatternTable, checkRank, checkTargets } from "../checks.ts";
import type { PeftConfigFields } from "../config.ts";

/** Fields of LoHa and LoKr. */
export interface LycorisFields extends PeftConfigFields {
  /** Rank; default 8. */
  r: number;
  /** Numerator of the scaling alpha / r; default 8. */
  alpha: number;
  /** Probability that an output feature loses its change while training; default 0. */
  rankDropout: number;
  /** Probability that a layer goes without its change in a training forward; default 0. */
  moduleDropout: number;
  /** Modules to adapt: names, a regular expression, "all-linear", or null for the model's default. */
  targetModules: readonly string[] | string | null;
  /** Modules to leave out of those; same forms, default null. */
  excludeModules: readonly string[] | string | null;
  /** Numbers of the blocks to adapt; null for all. */
  layersToTransform: number | readonly number[] | null;
  /** Name of the list of blocks, such as "h"; default null. */
  layersPattern: string | readonly string[] | null;
  /** Ranks of modules whose name matches a pattern; default {}. */
  rankPattern: Readonly<Record<string, number>>;
  /** Alphas of modules whose name matches a pattern; default {}. */
  alphaPattern: Readonly<Record<string, number>>;
  /** Modules trained and saved whole; default null. */
  modulesToSave: readonly string[] | null;
}

/** `peft`'s defaults of these fields. */
export const LYCORIS_DEFAULTS: Omit<LycorisFields, keyof PeftConfigFields> = {
  r: 8,
  alpha: 8,
  rankDropout: 0,
  moduleDropout: 0,
  targetModules: null,
  excludeModules: null,
  layersToTransform: null,
  layersPattern: null,
  rankPattern: {},
  alphaPattern: {},
  modulesToSave: null,
};

/** Fails for a value outside its range. @throws {RangeError} */
export function checkLycoris(method: string, fields: LycorisFields): void {
  checkTargets(method, fields);
  checkRank(method, "r", fields.r);
  checkFiniteNumber(method, "alpha", fields.alpha, 0);
  checkFiniteNumber(method, "rank_dropout", fields.rankDropout, 0, 1);
  checkFiniteNumber(method, "module_dropout", fields.moduleDropout, 0, 1);
  checkPatternTable(method, "rank_pattern", fields.rankPattern);
  checkPatternTable(method, "alpha_pattern", fields.alphaPattern);
  for (const [pattern, rank] of Object.entries(fields.rankPattern)) {
    checkRank(method, `rank_pattern of "${pattern}"`, rank);
  }
  for (const [pattern, alpha] of Object.entries(fields.alphaPattern)) {
    checkFiniteNumber(method, `alpha_pattern of "${pattern}"`, alpha, 0);
  }
}
