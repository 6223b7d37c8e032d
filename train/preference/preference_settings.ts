/**
 * Settings that all trainers of preferences share.
 * @module
 */

import { flag, integer, number, orNull } from "../../options/rules.ts";
import { option, type OptionTable } from "../../options/table.ts";
import { SETTINGS, type SettingsTable } from "../training_arguments.ts";

/** What they add to those of every training. */
export interface PreferenceSettings {
  readonly maxLength: number | null;
  readonly disableDropout: boolean;
  readonly beta: number;
}

/** Why a beta of 0 is refused by a loss that divides by it. */
export const mustDivide = (lossType: string): string =>
  `beta must be above 0 with lossType "${lossType}", which divides by it, received 0`;
/** Why it is refused where all losses are scaled by it. */
export const MUST_LEARN = "beta must be above 0, as nothing would be learned without it, received 0";

/** Their defaults are TRL's, some of them others than those of `TrainingArguments`. */
export const PREFERENCE_SETTINGS: SettingsTable & OptionTable<PreferenceSettings> = {
  ...SETTINGS,
  learningRate: option(1e-6, number(0)),
  loggingSteps: option(10, integer(1)),
  gradientCheckpointing: option(true, flag),
  maxLength: option<number | null>(1024, orNull(integer(2))),
  disableDropout: option(true, flag),
  beta: option(0.1, number(0)),
};
