/**
 * Settings of `CPOTrainer`, by TRL's names in camelCase.
 * @module
 */

import { choice, number } from "../../options/rules.ts";
import { option } from "../../options/table.ts";
import { type SettingsTable, TrainingArguments } from "../training_arguments.ts";
import { MUST_LEARN, mustDivide, PREFERENCE_SETTINGS } from "./preference_settings.ts";

/**
 * A loss of CPO; "alphapo" is "simpo" with `cpoAlpha` 0, for use with `alpha`.
 *
 * @example
 * ```ts
 * import { CPOConfig } from "@peft/webgpu";
 * import type { CPOLossType } from "@peft/webgpu/train";
 *
 * const lossType: CPOLossType = "ipo";
 * console.log(new CPOConfig({ lossType, beta: 0.1 }).cpoAlpha); // 1: the better answer is learned word by word, too
 * ```
 */
export type CPOLossType = "sigmoid" | "hinge" | "ipo" | "simpo" | "alphapo";

const CPO_SETTINGS = {
  ...PREFERENCE_SETTINGS,
  lossType: option<CPOLossType>("sigmoid", choice("sigmoid", "hinge", "ipo", "simpo", "alphapo")),
  labelSmoothing: option(0, number(0, 1)),
  cpoAlpha: option(1, number(0)),
  simpoGamma: option(0.5, number()),
  alpha: option(0, number()),
} as const;

function refuse(message: string): never {
  throw new RangeError(`Cannot make a CPO configuration: ${message}`);
}

/**
 * Settings of `CPOTrainer`: those of `TrainingArguments`, and these. Defaults are those of TRL 1.16's `CPOConfig`; of the
 * shared ones `learningRate` is 1e-6, `loggingSteps` 10 and `gradientCheckpointing` true.
 *
 * @example
 * ```ts
 * import { CPOConfig } from "@peft/webgpu";
 *
 * const args = new CPOConfig({ lossType: "simpo", cpoAlpha: 0, beta: 2 });
 * console.log(args.learningRate, args.beta);
 * ```
 */
export class CPOConfig extends TrainingArguments {
  /** Most tokens of prompt and answer; null for all. A row is left out if its prompt has as many. Default 1024. */
  declare maxLength: number | null;
  /** No dropout while training. Default true. */
  declare disableDropout: boolean;
  /** The loss; SimPO is "simpo" with `cpoAlpha` 0 and a `beta` of 2 or more. Default "sigmoid". */
  declare lossType: CPOLossType;
  /** Factor of the log-probabilities; for "ipo" the paper's tau. Default 0.1. */
  declare beta: number;
  /** Probability that a preference is the wrong way round, for "sigmoid" and "simpo". Default 0. */
  declare labelSmoothing: number;
  /** Factor of the better answers' negative log-likelihood. Default 1. */
  declare cpoAlpha: number;
  /** The margin that "simpo" aims at. Default 0.5. */
  declare simpoGamma: number;
  /** Rewards are (1 - p^-alpha) / alpha (AlphaPO, arXiv:2501.03884); 0: log p. Default 0. */
  declare alpha: number;

  /**
   * Defaults, with the given options in their place.
   * @throws {RangeError} for a value out of range @throws {TypeError} for a name that is no setting
   */
  constructor(options: Partial<CPOConfig> = {}) {
    super(options);
    if (this.lossType === "alphapo") {
      this.lossType = "simpo";
      this.cpoAlpha = 0;
    }
    if (this.beta > 0) return;
    if (this.lossType === "ipo" || this.lossType === "simpo") refuse(mustDivide(this.lossType));
    if (this.cpoAlpha === 0) refuse(MUST_LEARN);
  }

  /** @internal Its settings. */
  override get settings(): SettingsTable {
    return CPO_SETTINGS;
  }
}
