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
