/**
 * What the configurations of LyCORIS' methods share, LoHa and LoKr (`peft`'s `LycorisConfig`).
 * @module
 */

import { number } from "../../options/rules.ts";
import { option, type OptionTable } from "../../options/table.ts";
import { BLOCKWISE_OPTIONS, COMMON_OPTIONS } from "../config/method_config.ts";
import type { BlockwiseFields } from "../config/peft_config.ts";
import { alphaTable, probability, rank, rankTable } from "../config/rules.ts";

/**
 * Fields of LoHa and LoKr.
 *
 * @example
 * ```ts
 * import { LoHaConfig, LoKrConfig } from "@peft/webgpu";
 * import type { LycorisFields } from "@peft/webgpu/peft";
 *
 * const both: Partial<LycorisFields> = { r: 8, rankPattern: { c_proj: 2 }, targetModules: ["c_attn", "c_proj"] };
 * console.log([new LoHaConfig(both), new LoKrConfig(both)].map(({ peftType, rankPattern }) => [peftType, rankPattern]));
 * ```
 */
export interface LycorisFields extends BlockwiseFields {
  /** Rank; default 8. */
  r: number;
  /** Numerator of the scaling alpha / r; default 8. */
  alpha: number;
  /** Probability that an output feature loses its change while training; default 0. */
  rankDropout: number;
  /** Probability that a layer goes without its change in a training forward; default 0. */
  moduleDropout: number;
  /** Ranks of modules whose name matches a pattern; default {}. */
  rankPattern: Readonly<Record<string, number>>;
  /** Alphas of modules whose name matches a pattern; default {}. */
  alphaPattern: Readonly<Record<string, number>>;
}

/** Their rows. */
export const LYCORIS_OPTIONS: OptionTable<LycorisFields> = {
  ...COMMON_OPTIONS,
  r: option(8, rank, { inSummary: "always" }),
  alpha: option(8, number(0), { inSummary: "always" }),
  rankDropout: option(0, probability, { inSummary: "changed" }),
  moduleDropout: option(0, probability, { inSummary: "changed" }),
  rankPattern: option({}, rankTable, { inSummary: "changed" }),
  alphaPattern: option({}, alphaTable, { inSummary: "changed" }),
  ...BLOCKWISE_OPTIONS,
};
